"""Uploaded files as folders: what came in, and a card about it. Knows no HTTP.

    <root>/<file-id>/content      the bytes as they came
    <root>/<file-id>/file.json    the card, written last

A folder is filled beside its place and renamed into it, so a kill at any moment leaves no half file. All calls block.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from adapters.data import readers
from adapters.errors import InvalidInput, NotFound
from adapters.registry import write_whole

PURPOSES = ("fine-tune", "assistants", "batch", "evals", "user_data", "vision")
CHECKED = "fine-tune"
"""Files of this purpose are read whole when they arrive, so that a wrong row is found then and not in a job."""

ID = re.compile(r"file-[0-9a-f]{24}")
CARD = "file.json"
CONTENT = "content"
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredFile:
    id: str
    """Ids made later sort behind."""
    filename: str
    bytes: int
    created_at: int
    """Unix seconds."""
    purpose: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Page:
    files: tuple[StoredFile, ...]
    has_more: bool


class FileStore:
    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, source: BinaryIO, *, filename: str, purpose: str) -> StoredFile:
        """Copies the source to its end, a chunk at a time. Raises InvalidInput for an unknown purpose or an empty file,
        DataError (with line and field) for a fine-tune file that cannot be trained on."""
        if purpose not in PURPOSES:
            raise InvalidInput(f"purpose must be one of {', '.join(PURPOSES)}, not '{purpose}'", param="purpose")
        name = plain_name(filename)
        self.root.mkdir(parents=True, exist_ok=True)
        incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=self.root))
        try:
            size, digest = _copy(source, incoming / CONTENT)
            if size == 0:
                raise InvalidInput(f"'{name}' is empty", param="file")
            if purpose == CHECKED:
                readers.read(incoming / CONTENT, shown_as=name)
            now = time.time_ns()
            file = StoredFile(f"file-{now:016x}{secrets.token_hex(4)}", name, size, now // 10**9, purpose, digest)
            write_whole(incoming / CARD, json.dumps(dataclasses.asdict(file)))
            os.rename(incoming, self.root / file.id)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        return file

    def get(self, file_id: str) -> StoredFile:
        try:
            return StoredFile(**json.loads((self._folder(file_id) / CARD).read_bytes()))
        except FileNotFoundError:
            raise _unknown(file_id) from None

    def content(self, file_id: str) -> Path:
        """Where the bytes lie."""
        self.get(file_id)
        return self._folder(file_id) / CONTENT

    def page(
        self,
        *,
        limit: int = 10_000,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
        purpose: str | None = None,
    ) -> Page:
        """Files by age, newest first unless told; `after` is the id behind which to go on."""
        names = [entry.name for entry in os.scandir(self.root) if ID.fullmatch(entry.name)] if self.root.is_dir() else []
        found: list[StoredFile] = []
        for name in sorted(names, reverse=order == "desc"):
            if after is not None and (name <= after if order == "asc" else name >= after):
                continue
            try:
                file = self.get(name)
            except NotFound:  # removed since the folder was listed
                continue
            if purpose in (None, file.purpose):
                found.append(file)
            if len(found) > limit:
                break
        return Page(tuple(found[:limit]), len(found) > limit)

    def remove(self, file_id: str) -> None:
        """Takes the folder away in one step, then empties it."""
        doomed = self.root / f".removed-{file_id}-{secrets.token_hex(4)}"
        try:
            os.rename(self._folder(file_id), doomed)
        except FileNotFoundError:
            raise _unknown(file_id) from None
        shutil.rmtree(doomed)

    def _folder(self, file_id: str) -> Path:
        if ID.fullmatch(file_id) is None:
            raise _unknown(file_id)
        return self.root / file_id


def plain_name(filename: str) -> str:
    """The last part of a path of either kind, without what a terminal or a header would act on; at most 255 characters."""
    name = re.split(r"[/\\]", filename)[-1]
    name = "".join(character for character in name if character.isprintable() and character not in '"<>|:*?').strip(" .")
    return name[-255:] or "upload"


def _copy(source: BinaryIO, place: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with place.open("wb") as target:
        while chunk := source.read(CHUNK_BYTES):
            target.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        target.flush()
        os.fsync(target.fileno())
    return size, digest.hexdigest()


def _unknown(file_id: str) -> NotFound:
    shown = file_id if file_id.isprintable() and len(file_id) < 100 else "that id"
    return NotFound(f"there is no file '{shown}'; upload it with POST /v1/files", param="file_id")
