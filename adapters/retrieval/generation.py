"""A store at one moment, as a folder that never changes: searched by meaning and by words, without being loaded.

    index.faiss       vectors, a row for each passage; files in the order of their ids, passages in the order of their document
    lexical/          the same rows by their words
    passages.jsonl    file, number, start, end, heading and text of each row
    passages.npy      where each of these lines begins
    meta.json         written last: encoder, which rows are which file's, size and sha256 of every file

Knows no encoder (a question comes with its vector), no database, and nothing of why a file may not be found.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adapters import folders, registry
from adapters.errors import InvalidInput
from adapters.retrieval import lexical, prepared
from adapters.retrieval.chunks import headed
from adapters.retrieval.found import Found
from adapters.retrieval.fusion import LEXICAL_WEIGHT, fused
from adapters.retrieval.index import EXACT_UP_TO, Index
from adapters.retrieval.lexical import Lexical

if TYPE_CHECKING:
    from numpy.typing import NDArray

META, INDEX, LEXICAL, PASSAGES, PLACES = "meta.json", "index.faiss", "lexical", "passages.jsonl", "passages.npy"
FORMAT = 1
DEPTH = 100
"""How far down each ranking goes that is fused; twice the limit where that is more."""
RERANKED = 30
"""How many of the fused ranking a cross-encoder reads; it takes some milliseconds for each on a CPU."""

Rerank = Callable[[str, Sequence[str]], Sequence[float]]
"""Question and passages to scores from 0 to 1 (`encoder.Reranker.scores`)."""


@dataclass(frozen=True, slots=True)
class Wish:
    question: str
    vector: NDArray[np.float32]
    """(width,) and of length 1, of the encoder that the generation was built with."""
    limit: int
    lexical_weight: float = LEXICAL_WEIGHT
    """From 0, by meaning only, to 1, by words only."""
    allowed: frozenset[str] | None = None
    """Ids of the only files whose passages may be found; None for all."""
    without: frozenset[str] = frozenset()
    """Ids of files whose passages may not be found."""
    rerank: bool = False


class Generation:
    """Opened by `Generation.open`; safe to search from several threads."""

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        self.folder, self.encoder_id, self.width = folder, str(meta["encoder_id"]), int(meta["width"])
        self.rows = int(meta["rows"])
        self.files: dict[str, tuple[int, int]] = {name: (first, end) for name, first, end in meta["files"]}
        """Which rows are whose: first, and first of the next."""
        self._names, self._firsts = list(self.files), [first for first, _ in self.files.values()]
        if self.rows:
            self._index = Index.read(folder / INDEX)
            self._lexical = Lexical(folder / LEXICAL)
            self._places: NDArray[np.int64] = np.load(folder / PLACES, mmap_mode="r", allow_pickle=False)
            self._passages = np.memmap(folder / PASSAGES, dtype=np.uint8, mode="r")

    @classmethod
    def open(cls, folder: Path, encoder_id: str | None = None) -> Generation:
        """Maps the folder's files. Raises InvalidInput for one that is not whole, of another format, or of an encoder other
        than `encoder_id`, whose vectors cannot be compared with these."""
        meta = _meta(folder)
        for name, (size, _) in meta["sizes"].items():
            if not (folder / name).is_file() or (folder / name).stat().st_size != size:
                raise InvalidInput(f"{folder / name} is torn: {size} bytes were written; build the generation again")
        if encoder_id is not None and meta["encoder_id"] != encoder_id:
            raise InvalidInput(
                f"{folder} was encoded by {meta['encoder_id']}, and questions are by {encoder_id}: add its files again",
                param="encoder",
            )
        return cls(folder, meta)

    def search(self, wish: Wish, rerank: Rerank | None = None) -> list[Found]:
        """At most `wish.limit` passages, best first. Files that may not be found are left out before the search.

        Raises InvalidInput for a vector of another width, a limit or weight out of range, or a wish to rerank with nothing
        that does.
        """
        self._check(wish, rerank)
        allowed = self._allowed(wish)
        if self.rows == 0 or (allowed is not None and not allowed.any()):
            return []
        weight, depth = wish.lexical_weight, max(DEPTH, 2 * wish.limit)
        vector = np.asarray(wish.vector, dtype=np.float32)
        dense = [] if weight == 1 else [int(row) for row in self._index.search(vector[None], depth, allowed)[1][0] if row >= 0]
        worded = [] if weight == 0 else self._lexical.search(wish.question, depth, allowed)
        rows = list(dict.fromkeys((*dense, *worded)))
        if not rows:
            return []
        near = dict(zip(rows, np.maximum(0, self._index.rows(np.array(rows)) @ vector).tolist(), strict=True))
        covered = dict(zip(rows, self._lexical.coverage(wish.question, rows), strict=True))
        order = fused(dense, worded, weight, near, covered)
        scores = {row: min(1.0, (1 - weight) * near[row] + weight * covered[row]) for row in rows}
        places = {"dense": _places(dense), "lexical": _places(worded), "fused": _places(order), "reranked": {}}
        texts = {row: self._passage(row) for row in order[: max(wish.limit, RERANKED if wish.rerank else 0)]}
        if wish.rerank and rerank is not None:
            read = list(texts)
            scores = dict(
                zip(read, rerank(wish.question, [headed(p["heading"], p["text"]) for p in texts.values()]), strict=True)
            )
            order = sorted(read, key=lambda row: -scores[row])
            places["reranked"] = _places(order)
        return [
            Found(**texts[row], score=float(scores[row]), ranks={name: place.get(row) for name, place in places.items()})
            for row in order[: wish.limit]
        ]

    def passages(self) -> Iterator[dict[str, Any]]:
        """Every row as it was written: file, number, start, end, heading, text."""
        return (self._passage(row) for row in range(self.rows))

    def verify(self) -> None:
        """Reads every file whole. Raises InvalidInput naming the first that is not what was written."""
        for name, (_, digest) in _meta(self.folder)["sizes"].items():
            if registry.file_digest(self.folder / name) != digest:
                raise InvalidInput(f"{self.folder / name} is not what was written; build the generation again")

    def _passage(self, row: int) -> dict[str, Any]:
        line = self._passages[self._places[row] : self._places[row + 1]].tobytes()
        found: dict[str, Any] = json.loads(line)
        return {"file": self._names[bisect_right(self._firsts, row) - 1], **found}

    def _allowed(self, wish: Wish) -> NDArray[np.bool_] | None:
        """Which rows may be found; None for all."""
        if wish.allowed is None and not wish.without & self.files.keys():
            return None
        mask = np.zeros(self.rows, dtype=np.bool_)
        for name in (self.files.keys() if wish.allowed is None else wish.allowed & self.files.keys()) - wish.without:
            mask[slice(*self.files[name])] = True
        return mask

    def _check(self, wish: Wish, rerank: Rerank | None) -> None:
        if wish.limit < 1:
            raise InvalidInput(f"at least 1 passage must be asked for, not {wish.limit}", param="limit")
        if not 0 <= wish.lexical_weight <= 1:
            raise InvalidInput(f"lexical_weight goes from 0 to 1, not {wish.lexical_weight}", param="lexical_weight")
        if self.rows and np.shape(wish.vector) != (self.width,):
            raise InvalidInput(f"the question's vector is {np.shape(wish.vector)}, not ({self.width},)", param="vector")
        if wish.rerank and rerank is None:
            raise InvalidInput("no reranker is set up; name one in the settings, or do not ask to rerank", param="rerank")


def build(folder: Path, files: Mapping[str, Path], encoder_id: str, *, exact_up_to: int = EXACT_UP_TO) -> None:
    """Builds the generation of these prepared files (file id to folder), whole or not at all; no file makes an empty one.

    Raises InvalidInput for vectors of different widths or a folder that holds no prepared file; FileExistsError or OSError
    where the folder is there already.
    """
    names = sorted(files)
    cards = {name: prepared.open_prepared(files[name]) for name in names}
    widths = {card.width for card in cards.values()}
    if len(widths) > 1:
        raise InvalidInput(f"the files were encoded to vectors of {sorted(widths)} numbers; prepare them all with one encoder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    incoming = Path(tempfile.mkdtemp(prefix=prepared.INCOMING, dir=folder.parent))
    try:
        rows, owners = 0, []
        for name in names:
            owners.append((name, rows, rows := rows + cards[name].passages))
        if rows:
            parts = (prepared.vectors_of(files[name]) for name in names)
            Index.of_parts(parts, widths.pop(), rows, exact_up_to=exact_up_to).write(incoming / INDEX)
            (incoming / LEXICAL).mkdir()
            lexical.write(_write_passages(incoming, [files[name] for name in names]), incoming / LEXICAL)
        sizes = {
            path.relative_to(incoming).as_posix(): (path.stat().st_size, registry.file_digest(path))
            for path in sorted(incoming.rglob("*")) if path.is_file()
        }  # fmt: skip
        meta = {
            "format": FORMAT, "encoder_id": encoder_id, "width": cards[names[0]].width if names else 0, "rows": rows,
            "files": owners, "sizes": sizes, "made_by": {name: version(name) for name in ("faiss-cpu", "bm25s")},
        }  # fmt: skip
        (incoming / META).write_text(json.dumps(meta))
        incoming.chmod(0o755)
        folders.sync_tree(incoming)
        os.rename(incoming, folder)
        folders.sync_folder(folder.parent)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _write_passages(folder: Path, sources: Sequence[Path]) -> Iterator[str]:
    """Writes every passage's line and gives its text as it is searched, one after another; closes its files when done."""
    places = [0]
    with (folder / PASSAGES).open("wb") as file:
        for source in sources:
            for passage in prepared.passages_of(source):
                row = {"number": passage.number, "start": passage.start, "end": passage.end,
                       "heading": passage.heading, "text": passage.text}  # fmt: skip
                places.append(places[-1] + file.write(f"{json.dumps(row, ensure_ascii=False)}\n".encode()))
                yield headed(passage.heading, passage.text)
    np.save(folder / PLACES, np.array(places, dtype=np.int64))


def _meta(folder: Path) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{folder} holds no generation ({error}); build it again") from None
    if meta.get("format") != FORMAT:
        raise InvalidInput(f"{folder} is of format {meta.get('format')}, and this Graft reads {FORMAT}; build it again")
    return meta


def _places(ranking: Sequence[int]) -> dict[int, int]:
    return {row: place for place, row in enumerate(ranking, start=1)}
