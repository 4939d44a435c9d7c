"""Child processes that cannot be lost: each in a process group of its own, and gone when its parent is.

Engines, tuning runs, the runner and the advisor's measurements are all started here. Knows nothing of what they do.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

_PR_SET_PDEATHSIG = 1


async def start(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    stdin: int | IO[Any] = asyncio.subprocess.DEVNULL,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
) -> Process:
    """Starts `argv` in a new session. The kernel kills it when the thread that called this ends, `kill -9` included."""
    return await asyncio.create_subprocess_exec(
        *argv,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=None if environment is None else {**os.environ, **environment},
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


async def end(process: Process, *, grace_s: float) -> int:
    """SIGTERM to the whole group, SIGKILL to what is left after `grace_s`; returns the exit status (-9: killed)."""
    signal_group(process.pid, signal.SIGTERM)
    try:
        status = await asyncio.wait_for(process.wait(), grace_s)
    except TimeoutError:
        signal_group(process.pid, signal.SIGKILL)
        status = await process.wait()
    signal_group(process.pid, signal.SIGKILL)  # children that outlived their leader
    return status


def signal_group(leader: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, what)


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """Asks the kernel to kill this process when its parent ends. Runs between fork and exec, so it only calls."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
