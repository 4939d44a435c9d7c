"""What lies under `<home>/stores` and is no longer needed: replaced generations, files taken out, stores deleted.

A generation stays for a while after it was replaced, for searches that have read the pointer and not opened it yet; one
that is open outlives its files. Whoever is at work on a store holds its lock, which dies with its holder. Calls block.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.stores.places import Places

GRACE_S = 30.0


@contextmanager
def alone(places: Places, store_id: str) -> Iterator[bool]:
    """Holds the store's lock while the block runs; yields False where somebody else is at work on it."""
    file = places.lock(store_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def remove_store(places: Places, store_id: str) -> None:
    """Of a store that has no row any more. Where ingest is at work on it, it does this itself when it notices."""
    with alone(places, store_id) as is_mine:
        if is_mine:
            shutil.rmtree(places.store(store_id), ignore_errors=True)


class Tidying:
    def __init__(self, places: Places, *, grace_s: float = GRACE_S) -> None:
        self._places, self._grace_s = places, grace_s
        self._replaced: dict[Path, float] = {}
        """Generations seen that are not current, and since when."""

    def generations(self, store_id: str, current: int | None) -> None:
        """Removes those that were replaced long enough ago."""
        for folder in _folders(self._places.generations(store_id)):
            if not folder.name.isdigit() or (current is not None and int(folder.name) >= current):
                continue
            since = self._replaced.setdefault(folder, time.monotonic())
            if time.monotonic() - since >= self._grace_s:
                shutil.rmtree(folder, ignore_errors=True)
                del self._replaced[folder]

    def torn(self, store_id: str, needed: Collection[Path]) -> None:
        """Removes prepared files other than the `needed` ones, and what killed workers had begun.

        Only for who holds the store's lock and has no worker at work on it.
        """
        keep = {folder.name for folder in needed}
        begun = (folder for folder in _folders(self._places.generations(store_id)) if not folder.name.isdigit())
        for folder in (*_folders(self._places.all_prepared(store_id)), *begun):
            if folder.name not in keep:
                shutil.rmtree(folder, ignore_errors=True)


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
