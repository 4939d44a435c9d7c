"""Nearest vectors: the one door to faiss. Exact up to EXACT_UP_TO rows, by a graph above. Knows no text and no encoder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from adapters.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIBRARY: Any = faiss
"""The same, for what its type stubs do not know."""

EXACT_UP_TO = 50_000
"""One thread compares 25,000 rows of 384 numbers in about 1 ms and 100,000 in 6; sixteen callers at once wait sixteen times
as long. Building a graph takes half a minute for 50,000 rows, so below it nothing is gained (tests/bench/vectors.py)."""
LINKS, BUILD_DEPTH, SEARCH_DEPTH = 32, 100, 128
"""Of the graph (HNSW): M, efConstruction and efSearch. On 20,000 real vectors of MiniLM recall@10 is .97 at a search depth of
32 and .99 at 64; of 100,000 synthetic ones M = 16 found .989 where 32 found .998; of a million, .948 at 64 and .975 at 128, in
a median of .65 ms (tests/bench/vectors.py)."""
FEW = 0.05
"""Where a smaller share of the rows is allowed, those are compared one by one: a graph walked through closed doors loses its
way, and this many rows are soon compared."""


class Index:
    """Inner product over all vectors, which is the cosine where they have length 1. Safe to search from several threads."""

    _index: Any

    def __init__(self, vectors: NDArray[np.float32], *, exact_up_to: int = EXACT_UP_TO) -> None:
        if vectors.ndim != 2 or len(vectors) == 0:
            raise InvalidInput(f"an index needs vectors of shape (n, width), n above 0, not {vectors.shape}", param="vectors")
        self._index = _empty(vectors.shape[1], len(vectors), exact_up_to)
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    @classmethod
    def of_parts(cls, parts: Iterable[NDArray[np.float32]], width: int, rows: int, *, exact_up_to: int = EXACT_UP_TO) -> Index:
        """The index of all parts' rows in order, `rows` together, without ever holding them twice."""
        made = cls.__new__(cls)
        made._index = _empty(width, rows, exact_up_to)
        for part in parts:
            made._index.add(np.ascontiguousarray(part, dtype=np.float32))
        return made

    @classmethod
    def read(cls, file: Path) -> Index:
        """The index that `write` wrote, mapped from the disk: its pages are read when a search needs them."""
        opened = cls.__new__(cls)
        try:
            opened._index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise InvalidInput(f"{file} is no index that can be read ({str(error).splitlines()[0]})", param="index") from error
        return opened

    def write(self, file: Path) -> None:
        faiss.write_index(self._index, str(file))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def width(self) -> int:
        return int(self._index.d)

    @property
    def is_exact(self) -> bool:
        return isinstance(self._index, faiss.IndexFlat)

    def search(
        self, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and row numbers of the `k` nearest, best first, both of shape (len(vectors), min(k, rows allowed)).

        `allowed` says of each row whether it may be found; the others are left out of the search, not of its result. Where a
        graph finds fewer than asked for, the row number is -1.
        """
        if k < 1:
            raise InvalidInput(f"k must be at least 1, not {k}", param="k")
        asked = np.ascontiguousarray(vectors, dtype=np.float32)
        if allowed is None:
            return self._nearest(asked, min(k, len(self)), None)
        rows = np.flatnonzero(allowed)
        k = min(k, len(rows))
        if k == 0:
            return np.zeros((len(asked), 0), dtype=np.float32), np.zeros((len(asked), 0), dtype=np.int64)
        if len(rows) <= FEW * len(self):
            return _best(asked @ self.rows(rows).T, rows, k)
        bits = np.packbits(allowed, bitorder="little")
        return self._nearest(asked, k, LIBRARY.IDSelectorBitmap(bits), len(rows) / len(self))

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of these rows, float32 (len(numbers), width)."""
        found: NDArray[np.float32] = self._index.reconstruct_batch(np.ascontiguousarray(numbers, dtype=np.int64))
        return found

    def _nearest(
        self, asked: NDArray[np.float32], k: int, selector: Any, share: float = 1.0
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if self.is_exact:
            params = LIBRARY.SearchParameters(sel=selector) if selector else None
        else:
            # the graph keeps so many candidates, allowed or not: where fewer are allowed, more are needed
            depth = round(max(SEARCH_DEPTH, 2 * k) / share)
            params = LIBRARY.SearchParametersHNSW(sel=selector, efSearch=depth)
        scores, ids = self._index.search(asked, k, params=params)
        return scores, ids


def _empty(width: int, rows: int, exact_up_to: int) -> Any:
    if rows <= exact_up_to:
        return faiss.IndexFlatIP(width)
    made = faiss.IndexHNSWFlat(width, LINKS, faiss.METRIC_INNER_PRODUCT)
    made.hnsw.efConstruction = BUILD_DEPTH
    return made


def _best(scores: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), rows[order]
