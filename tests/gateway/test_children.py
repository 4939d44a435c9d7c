"""Child processes are never lost: they end with us, in whole groups, however we end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from gateway import children

STUBBORN = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
WITH_GRANDCHILD = (
    "import subprocess, sys, signal; child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
    "print(child.pid, flush=True); signal.pause()"
)
PARENT = (
    "import asyncio, sys, signal\nfrom gateway import children\n"
    "async def main():\n"
    "    process = await children.start([sys.executable, '-c', 'import signal; signal.pause()'])\n"
    "    print(process.pid, flush=True)\n"
    "    await process.wait()\n"
    "asyncio.run(main())\n"
)


def gone(pid: int) -> bool:
    """Whether the process has ended; a zombie that init has yet to collect counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(pid: int) -> None:
    handle = os.pidfd_open(pid) if not gone(pid) else None
    if handle is not None:
        import select

        assert select.select([handle], [], [], 10)[0], f"process {pid} still runs"
        os.close(handle)


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace() -> None:
    async def run() -> int:
        process = await children.start([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"up\n"
        return await children.end(process, grace_s=0.2)

    assert asyncio.run(run()) == -signal.SIGKILL


def test_ending_a_child_ends_what_it_started() -> None:
    async def run() -> int:
        process = await children.start([sys.executable, "-c", WITH_GRANDCHILD], stdout=subprocess.PIPE)
        assert process.stdout is not None
        grandchild = int(await process.stdout.readline())
        await children.end(process, grace_s=5)
        return grandchild

    wait_until_gone(asyncio.run(run()))


def test_a_child_dies_with_a_parent_that_was_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not gone(child)
    parent.kill()
    parent.wait()
    wait_until_gone(child)
