"""Folders as wholes: copied, brought to disk, taken away in one step. What the system refuses is raised as it said it.

Knows nothing of what the folders mean; the registry and whoever else keeps artifacts does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

REMOVED = ".removed-"
"""Begins the name of what was taken away and is being deleted."""


def copy_tree(source: Path, target: Path) -> None:
    # not shutil.copytree: it tries every file even when the disk is full, and hides the system's error in a list
    for path in sorted(source.rglob("*")):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def moved_away(place: Path) -> Path:
    """Renames the folder to where no reader looks, in one step. Raises FileNotFoundError if it is not there."""
    doomed = tempfile.mkdtemp(prefix=REMOVED, dir=place.parent)
    try:
        os.rename(place, doomed)
    except OSError:
        os.rmdir(doomed)
        raise
    return Path(doomed)


def sweep(root: Path, patterns: Iterable[str], older_than_s: float) -> int:
    """Deletes what matches below the root and is older, by its inode's last change; returns how many there were."""
    oldest = time.time() - older_than_s
    swept = 0
    for path in [path for pattern in patterns for path in root.glob(pattern)]:
        with contextlib.suppress(FileNotFoundError):  # its owner, or another sweeper, was faster
            if path.stat().st_ctime > oldest:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            swept += 1
    return swept


def sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
