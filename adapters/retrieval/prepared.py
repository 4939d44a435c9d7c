"""One file read, cut and encoded, as a folder that never changes: what every generation of a store is put together from.

    passages.jsonl    number, start, end and heading of each passage
    document.txt      the text that start and end count in, UTF-8
    vectors.npy       float32 (passages, width), rows of length 1
    card.json         written last: how it was cut, and what there is

Built beside its place and renamed into it. Knows no store and no encoder; it is given what counts and what encodes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.format import open_memmap

from adapters import folders
from adapters.errors import InvalidInput
from adapters.retrieval.chunks import Chunking, Count, Passage, cut, headed
from adapters.retrieval.documents import read_document

if TYPE_CHECKING:
    from numpy.typing import NDArray

Encode = Callable[[Sequence[str]], "NDArray[np.float32]"]
"""Texts to float32 (n, width), rows of length 1."""

CARD, PASSAGES, TEXT, VECTORS = "card.json", "passages.jsonl", "document.txt", "vectors.npy"
INCOMING = ".incoming-"
AT_ONCE = 256
"""Passages encoded with one call, so that a long document holds few vectors in memory and lets others in between."""


@dataclass(frozen=True, slots=True)
class Prepared:
    folder: Path
    filename: str
    passages: int
    characters: int
    width: int
    bytes: int
    """On disk, vectors included."""
    chunking: Chunking


def prepare(path: Path, filename: str, folder: Path, chunking: Chunking, count: Count, encode: Encode) -> Prepared:
    """Makes the folder, whole or not at all; one that is there already is returned as it is.

    Raises InvalidInput (`unreadable_document`) for a file that cannot be read, and whatever `encode` raises.
    """
    if (folder / CARD).is_file():
        return open_prepared(folder)
    document = read_document(path, filename)
    passages = cut(document, chunking, count)
    folder.parent.mkdir(parents=True, exist_ok=True)
    incoming = Path(tempfile.mkdtemp(prefix=INCOMING, dir=folder.parent))
    try:
        width = _write_vectors(incoming / VECTORS, [headed(passage.heading, passage.text) for passage in passages], encode)
        (incoming / TEXT).write_bytes(document.text.encode())
        with (incoming / PASSAGES).open("w") as file:
            for passage in passages:
                row = {"number": passage.number, "start": passage.start, "end": passage.end, "heading": passage.heading}
                file.write(f"{json.dumps(row, ensure_ascii=False)}\n")
        size = sum(entry.stat().st_size for entry in incoming.iterdir())
        card = Prepared(folder, filename, len(passages), len(document.text), width, size, chunking)
        said = dataclasses.asdict(card)
        del said["folder"]
        (incoming / CARD).write_text(json.dumps(said, indent=1))
        incoming.chmod(0o755)
        folders.sync_tree(incoming)
        try:
            os.rename(incoming, folder)
        except OSError:
            if not (folder / CARD).is_file():  # else another process prepared the same file first, which is as good
                raise
        folders.sync_folder(folder.parent)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return open_prepared(folder)


def open_prepared(folder: Path) -> Prepared:
    """Raises InvalidInput for a folder that is none."""
    try:
        said: dict[str, Any] = json.loads((folder / CARD).read_bytes())
        return Prepared(folder=folder, **said | {"chunking": Chunking(**said["chunking"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidInput(f"{folder} holds no prepared file ({error}); remove it and prepare the file again") from error


def passages_of(folder: Path) -> list[Passage]:
    text = (folder / TEXT).read_bytes().decode()
    with (folder / PASSAGES).open() as file:
        rows = [json.loads(line) for line in file]
    return [Passage(**row, text=text[row["start"] : row["end"]]) for row in rows]


def vectors_of(folder: Path) -> NDArray[np.float32]:
    """Mapped from the disk, not read."""
    found: NDArray[np.float32] = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
    return found


def _write_vectors(file: Path, texts: Sequence[str], encode: Encode) -> int:
    """Encodes a part at a time into the file and returns the vectors' width."""
    made = None
    for start in range(0, len(texts), AT_ONCE):
        part = encode(texts[start : start + AT_ONCE])
        if made is None:
            shape = (len(texts), part.shape[1])
            made = open_memmap(file, mode="w+", dtype=np.float32, shape=shape)  # type: ignore[no-untyped-call]
        made[start : start + len(part)] = part
    if made is None:
        raise InvalidInput("there is nothing to encode: the document has no passage", code="unreadable_document")
    made.flush()
    return int(made.shape[1])
