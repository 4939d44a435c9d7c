"""Uploaded files as folders: what came in, and a card about it. Knows no HTTP.

    <root>/<file-id>/content      the bytes as they came
    <root>/<file-id>/file.json    the card, written last

A folder is filled beside its place and renamed into it, so a kill at any moment leaves no half file. All calls block.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from adapters.data import readers
from adapters.errors import InvalidInput, NotFound
from adapters.registry import write_whole

PURPOSES = ("fine-tune", "assistants", "batch", "evals", "user_data", "vision")
RESULTS = "fine-tune-results"
"""Made here, never uploaded."""
CHECKED = "fine-tune"
"""Files of this purpose are read whole when they arrive, so that a wrong row is found then and not in a job."""

ID = re.compile(r"file-[0-9a-f]{24}")
CARD = "file.json"
CONTENT = "content"
CHUNK_BYTES = 1 << 20
SHORTEST_LIFE_S, LONGEST_LIFE_S = 3600, 2_592_000
"""Of a file that expires, as the Files API has it."""


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
    expires_at: int | None = None
    """Unix seconds, from which on it is gone; None keeps it until it is deleted."""


@dataclass(frozen=True, slots=True)
class Page:
    files: tuple[StoredFile, ...]
    has_more: bool


class FileStore:
    def __init__(self, root: Path) -> None:
        self.root = root

    def add(
        self, source: BinaryIO, *, filename: str, purpose: str, expires_after_s: int | None = None
    ) -> StoredFile:  # fmt: skip
        """Copies the source to its end, a chunk at a time. Raises InvalidInput for an unknown purpose, a life that is too
        short or long, or an empty file; InvalidInput with every finding for a fine-tune file that cannot be trained on."""
        if purpose not in PURPOSES:
            raise InvalidInput(f"purpose must be one of {', '.join(PURPOSES)}, not '{purpose}'", param="purpose")
        if expires_after_s is not None and not SHORTEST_LIFE_S <= expires_after_s <= LONGEST_LIFE_S:
            raise InvalidInput(
                f"a file expires after {SHORTEST_LIFE_S} to {LONGEST_LIFE_S} seconds, not {expires_after_s}",
                param="expires_after.seconds",
            )
        now = time.time_ns()
        file_id = f"file-{now:016x}{secrets.token_hex(4)}"
        expires_at = None if expires_after_s is None else now // 10**9 + expires_after_s
        return self._keep(source, StoredFile(file_id, plain_name(filename), 0, now // 10**9, purpose, "", expires_at))

    def keep_results(self, content: bytes, *, filename: str, at_ns: int, of: str) -> StoredFile:
        """The result file of the job `of`, which ended at `at_ns`; kept twice, it is the same file."""
        file_id = f"file-{at_ns:016x}{hashlib.sha256(of.encode()).hexdigest()[:8]}"
        try:
            return self.get(file_id)
        except NotFound:
            return self._keep(io.BytesIO(content), StoredFile(file_id, filename, 0, at_ns // 10**9, RESULTS, ""))

    def _keep(self, source: BinaryIO, card: StoredFile) -> StoredFile:
        self.root.mkdir(parents=True, exist_ok=True)
        incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=self.root))
        try:
            size, digest = _copy(source, incoming / CONTENT)
            file = dataclasses.replace(card, bytes=size, sha256=digest)
            if size == 0:
                raise InvalidInput(f"'{file.filename}' is empty", param="file")
            if file.purpose == CHECKED:
                _check(incoming / CONTENT, file.filename)
            write_whole(incoming / CARD, json.dumps(dataclasses.asdict(file)))
            os.rename(incoming, self.root / file.id)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        return file

    def get(self, file_id: str) -> StoredFile:
        """Raises NotFound for what was never there, was deleted, or has expired."""
        try:
            file = StoredFile(**json.loads((self._folder(file_id) / CARD).read_bytes()))
        except FileNotFoundError:
            raise _unknown(file_id) from None
        if file.expires_at is not None and file.expires_at <= time.time():
            raise _unknown(file_id)
        return file

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
        found: list[StoredFile] = []
        for name in sorted(self._ids(), reverse=order == "desc"):
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

    def sweep(self) -> int:
        """Removes what has expired, and returns how many files that were."""
        gone = 0
        for file_id in self._ids():
            with suppress(FileNotFoundError, NotFound):  # deleted since the folder was listed
                expires_at = json.loads((self._folder(file_id) / CARD).read_bytes()).get("expires_at")
                if expires_at is not None and expires_at <= time.time():
                    self.remove(file_id)
                    gone += 1
        return gone

    def _ids(self) -> list[str]:
        return [entry.name for entry in os.scandir(self.root) if ID.fullmatch(entry.name)] if self.root.is_dir() else []

    def _folder(self, file_id: str) -> Path:
        if ID.fullmatch(file_id) is None:
            raise _unknown(file_id)
        return self.root / file_id


def plain_name(filename: str) -> str:
    """The last part of a path of either kind, without what a terminal or a header would act on; at most 255 characters."""
    name = re.split(r"[/\\]", filename)[-1]
    name = "".join(character for character in name if character.isprintable() and character not in '"<>|:*?').strip(" .")
    return name[-255:] or "upload"


def _check(content: Path, filename: str) -> None:
    try:
        readers.read(content, shown_as=filename)
    except InvalidInput as wrong:  # the message names every line and field; what was sent wrongly is the file
        raise InvalidInput(wrong.message, param="file", code=wrong.code) from wrong


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
