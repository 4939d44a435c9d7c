"""One gateway a socket, in a place that is ours and short enough, with whatever a killed one left there ended first."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path

import pytest

from adapters.errors import Conflict, InvalidInput
from gateway import settings as settings_table
from gateway.engines.sockets import claimed, end_stale, socket_path


def test_an_engine_left_behind_is_ended_before_the_next_starts(tmp_path: Path) -> None:
    socket, note = tmp_path / "tiny.sock", tmp_path / "tiny.pid"
    socket.touch()
    sleeping = [sys.executable, "-c", "import signal; signal.pause()"]
    left = subprocess.Popen([*sleeping, str(socket)], start_new_session=True)
    stranger = subprocess.Popen(sleeping, start_new_session=True)
    try:
        note.write_text(str(stranger.pid))
        asyncio.run(end_stale(note, socket))
        assert stranger.poll() is None
        note.write_text(str(left.pid))
        # reaped beside, as init would: a zombie still counts as a member of its group
        ending = asyncio.run(_both(end_stale(note, socket), asyncio.to_thread(left.wait)))
        assert ending == -signal.SIGKILL
        assert not socket.exists()
    finally:
        for process in (left, stranger):
            process.kill()
            process.wait()


async def _both(ending: Coroutine[None, None, None], reaping: Coroutine[None, None, int]) -> int:
    _, status = await asyncio.gather(ending, reaping)
    return status


def test_two_gateways_cannot_share_a_home(tmp_path: Path) -> None:
    socket = tmp_path / "tiny.sock"
    with claimed(socket), pytest.raises(Conflict, match="another gateway"), claimed(socket):
        pass
    with claimed(socket):
        pass


def test_a_socket_always_fits_and_lies_where_only_we_can_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    deep = settings_table.load(environment={"GRAFT_STORAGE_HOME": str(tmp_path / ("d" * 120))})
    path = socket_path(deep, "a" * 128)
    assert path == socket_path(deep, "a" * 128)
    assert path != socket_path(deep, "b")
    assert path.parent.parent == tmp_path
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.parent.chmod(0o777)
    with pytest.raises(InvalidInput, match="others may write"):
        socket_path(deep, "a")
