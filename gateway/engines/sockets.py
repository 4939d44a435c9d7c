"""Where engines listen, and who may start one there: one gateway a socket, by a lock that dies with its holder.

Knows no HTTP and no kind of engine.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adapters.errors import Conflict, InvalidInput
from gateway import children
from gateway.settings import Settings

LONGEST_PATH = 100
"""A Unix socket's path must fit in 108 bytes, the closing zero included (sun_path, unix(7))."""


def socket_path(settings: Settings, base: str) -> Path:
    """The base's socket under storage.home or, where that is too deep, in a folder of ours among temporary files."""
    path = settings.sockets / f"{base}.sock"
    if len(os.fsencode(path)) >= LONGEST_PATH:
        short = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"graft-{os.getuid()}" / f"{short}.sock"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = path.parent.stat()
    if state.st_uid != os.getuid() or state.st_mode & 0o022:
        raise InvalidInput(f"others may write into {path.parent}, where engines listen; make it yours alone (chmod 700)")
    return path


@contextmanager
def claimed(socket: Path) -> Iterator[Path]:
    """Holds the socket for this process and gives the file for the engine's pid. Raises Conflict if it is held."""
    note = socket.with_suffix(".pid")
    with note.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"another gateway serves from {socket.parent}; end it, or give this one its own storage.home"
            ) from None
        try:
            yield note
        finally:
            note.unlink(missing_ok=True)


async def end_stale(note: Path, socket: Path) -> None:
    """Ends the engine that a killed gateway left behind, if it is one, and removes its socket file."""
    pid = _stale(note, socket)
    if pid is not None:
        children.signal_group(pid, signal.SIGKILL)
        await _gone(pid)
    _remove(socket)


def _stale(note: Path, socket: Path) -> int | None:
    try:
        pid = int(note.read_text())
        # a pid is reused sooner or later: only a process that was told our socket is our engine
        return pid if os.fsencode(socket) in Path(f"/proc/{pid}/cmdline").read_bytes() else None
    except (ValueError, FileNotFoundError, ProcessLookupError):
        return None


def _remove(socket: Path) -> None:
    socket.unlink(missing_ok=True)  # vLLM refuses to listen where a file lies


async def _gone(group: int, patience_s: float = 10.0) -> None:
    with suppress(ProcessLookupError):
        for _ in range(int(patience_s / 0.05)):
            os.killpg(group, 0)
            await asyncio.sleep(0.05)  # it is no child of ours, so nobody tells us when it ends
