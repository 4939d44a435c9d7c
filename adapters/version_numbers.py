"""The version numbers of one name: which digest each stands for. None is given twice, whatever becomes of it.

    <folder>/<n>            a file holding a digest12
    <folder>/<n>.forced     why the version was promoted past the publish gate
    <folder>/<n>.retired    what the number stood for

A number is taken by hard-linking a finished file, which either happens whole or fails because the number is taken. Knows
no model.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from adapters import folders

INCOMING = ".incoming-"
"""Begins the name of what is being made."""
FORCED, RETIRED = ".forced", ".retired"


class VersionNumbers:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[tuple[int, str]]:
        """(number, digest12), oldest first."""
        if not self.folder.is_dir():
            return []
        found = []
        for entry in os.scandir(self.folder):
            if entry.name.isdigit():
                with contextlib.suppress(FileNotFoundError):  # retired between the look and the read
                    found.append((int(entry.name), Path(entry.path).read_text().strip()))
        return sorted(found)

    def take(self, digest12: str) -> int:
        """The number that stands for the digest from now on: the next that was never given."""
        self.folder.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self.folder, prefix=INCOMING, delete=False) as note:
            try:
                note.write(digest12)
                note.flush()
                os.fsync(note.fileno())
                return self._linked(Path(note.name))
            finally:
                os.unlink(note.name)

    def give_back(self, number: int) -> None:
        """Of one that was just taken, before anybody was told of it."""
        self.note(number).unlink()

    def retire(self, number: int) -> None:
        """Takes the number away, for good. Raises FileNotFoundError where somebody was faster."""
        os.rename(self.note(number), self.note(number, RETIRED))
        self.note(number, FORCED).unlink(missing_ok=True)

    def forced(self, number: int) -> dict[str, Any] | None:
        with contextlib.suppress(FileNotFoundError):
            said: dict[str, Any] = json.loads(self.note(number, FORCED).read_bytes())
            return said
        return None

    def note(self, number: int, ending: str = "") -> Path:
        return self.folder / f"{number}{ending}"

    def sync(self) -> None:
        folders.sync_folder(self.folder)

    def _linked(self, note: Path) -> int:
        while True:
            given = (entry.name.removesuffix(RETIRED) for entry in os.scandir(self.folder))
            number = max((int(name) for name in given if name.isdigit()), default=0) + 1
            try:
                os.link(note, self.note(number))
            except FileExistsError:
                continue  # another publisher took the number between the look and the link
            return number
