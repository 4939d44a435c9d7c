"""The rows that shots are chosen from, as an immutable folder: `rows.jsonl`, and their vectors where they have any.

    <folder>/rows.jsonl      {"user": …, "assistant": …}, one a line; the pool's digest is the sha256 of this file
    <folder>/vectors.npy     float32 (rows, width), length 1 each: what the user said, encoded; read memory-mapped
    <folder>/card.json       written last: how many rows, whether there are vectors, and which encoder made them

Knows no selector and no encoder. That only training rows get in is the duty of whoever writes the pool.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from adapters import folders
from adapters.errors import Conflict, InvalidInput, NotFound
from adapters.prompts import Shot

ROWS, VECTORS, CARD = "rows.jsonl", "vectors.npy", "card.json"
CHARACTERS_PER_TOKEN = 3.5
"""What English comes to with common vocabularies, and a little below it, so that a budget is kept rather than missed."""
FRAME_TOKENS = 8
"""What a chat template writes around a question and its answer."""

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]
"""Texts to rows of length 1."""
Count = Callable[[str], int]
"""Tokens of a text."""
T = TypeVar("T")


def estimated_tokens(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def asked_key(text: str) -> str:
    """Equal for two texts that differ in spacing, letter case or Unicode form only."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(folded.split())


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows in their order, and what selectors derive from them once. Safe to share between threads."""

    rows: Sequence[Shot]
    vectors: Vectors | None = None
    """One row for each, of length 1."""
    encoder: str = ""
    """Which model made the vectors; a question must be encoded by the same."""
    count: Count = estimated_tokens
    _derived: dict[object, object] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.vectors is not None and len(self.vectors) != len(self.rows):
            raise InvalidInput(
                f"the pool has {len(self.rows)} rows and {len(self.vectors)} vectors; write it again", param="pool"
            )

    @cached_property
    def rows_by_key(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for number, row in enumerate(self.rows):
            found.setdefault(asked_key(row.user), []).append(number)
        return found

    @cached_property
    def tokens(self) -> NDArray[np.int64]:
        """(rows,), of question, answer and the chat template's words around them."""
        sums = (self.count(row.user) + self.count(row.assistant) + FRAME_TOKENS for row in self.rows)
        return np.fromiter(sums, dtype=np.int64, count=len(self.rows))

    def once(self, name: object, make: Callable[[], T]) -> T:
        """What `make` gives, made at the first call with this name. Two threads at once may both make it, to no harm."""
        if name not in self._derived:
            self._derived[name] = make()
        return self._derived[name]  # type: ignore[return-value]


def pool_digest(shots: Sequence[Shot]) -> str:
    """What `write_pool` would call these rows: 64 hex digits."""
    return hashlib.sha256(_lines(shots)).hexdigest()


def write_pool(folder: Path, shots: Sequence[Shot], encode: Encode | None = None, *, encoder: str = "") -> str:
    """Writes the pool whole, or not at all, and returns its digest.

    A folder that holds the same rows already is left as it is, save that vectors are added where it has none. Raises
    InvalidInput for no rows, Conflict where the folder holds other rows.
    """
    if not shots:
        raise InvalidInput("a pool needs at least one row", param="pool")
    lines = _lines(shots)
    digest = hashlib.sha256(lines).hexdigest()
    card: dict[str, Any] = {"rows": len(shots), "digest": digest, "vectors": False, "encoder": ""}
    if folder.is_dir():
        if hashlib.sha256((folder / ROWS).read_bytes()).hexdigest() != digest:
            raise Conflict(f"{folder} holds a pool of other rows; pools are never changed", param="pool")
        if encode is not None and not json.loads((folder / CARD).read_bytes())["vectors"]:
            _add_vectors(folder, _encoded(shots, encode), card | {"encoder": encoder})
        return digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=folder.parent))
    try:
        (incoming / ROWS).write_bytes(lines)
        if encode is None:
            _put_file(incoming / CARD, json.dumps(card).encode())
        else:
            _add_vectors(incoming, _encoded(shots, encode), card | {"encoder": encoder})
        incoming.chmod(0o755)  # mkdtemp makes it ours alone
        folders.sync_tree(incoming)
        try:
            os.rename(incoming, folder)
        except OSError:
            if not (folder / CARD).is_file():
                raise
            # somebody else wrote the same rows first
        folders.sync_folder(folder.parent)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return digest


def open_pool(folder: Path, *, count: Count = estimated_tokens) -> Pool:
    """Reads rows, maps vectors. Raises NotFound for no pool, InvalidInput for a damaged one."""
    try:
        lines = (folder / ROWS).read_bytes().splitlines()
        card = json.loads((folder / CARD).read_bytes())
        rows = tuple(Shot(**json.loads(line)) for line in lines)
    except FileNotFoundError:
        raise NotFound(f"there is no pool of shots in {folder}", param="pool") from None
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"the pool in {folder} is damaged ({error}); make it again", param="pool") from error
    vectors = None
    if card["vectors"]:
        vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
    return Pool(rows, vectors, encoder=card["encoder"], count=count)


def _lines(shots: Sequence[Shot]) -> bytes:
    rows = (json.dumps({"user": shot.user, "assistant": shot.assistant}) for shot in shots)
    return "".join(f"{row}\n" for row in rows).encode()


def _encoded(shots: Sequence[Shot], encode: Encode) -> Vectors:
    vectors = np.ascontiguousarray(encode([shot.user for shot in shots]), dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(shots):
        raise InvalidInput(f"the encoder gave vectors of shape {vectors.shape} for {len(shots)} rows", param="pool")
    return vectors


def _add_vectors(folder: Path, vectors: Vectors, card: dict[str, Any]) -> None:
    """The card comes last: vectors that it does not speak of are not there yet."""
    held = io.BytesIO()
    np.save(held, vectors, allow_pickle=False)
    _put_file(folder / VECTORS, held.getvalue())
    _put_file(folder / CARD, json.dumps(card | {"vectors": True}).encode())


def _put_file(path: Path, content: bytes) -> None:
    """Written beside its place and renamed: a reader sees the old file or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
