"""Passages by their words (BM25): the one door to bm25s. Knows no vector.

    data, indices, indptr .npy    the score of each term in each passage that holds it, by term
    terms.txt, terms.npy          the terms in order, a line each, and where each begins
    params.json                   what bm25s was told

All arrays are mapped from the disk, and a term is found by halving, so that opening an index reads next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bm25s
import numpy as np

from adapters.retrieval.words import telling, words

if TYPE_CHECKING:
    from numpy.typing import NDArray

TERMS, PLACES = "terms.txt", "terms.npy"


class Lexical:
    """Safe to search from several threads: nothing of it changes."""

    def __init__(self, folder: Path) -> None:
        self._bm25 = bm25s.BM25.load(folder, mmap=True, load_vocab=False)
        self._text = np.memmap(folder / TERMS, dtype=np.uint8, mode="r")
        self._places: NDArray[np.int64] = np.load(folder / PLACES, mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return int(self._bm25.scores["num_docs"])

    def search(self, question: str, k: int, allowed: NDArray[np.bool_] | None = None) -> list[int]:
        """Row numbers of at most `k` passages that hold a term of the question, best first; only of those allowed."""
        ids = [found for term in telling(question) if (found := self._id(term)) is not None]
        if not ids:
            return []
        scores: NDArray[np.float32] = self._bm25.get_scores_from_ids(ids)
        if allowed is not None:
            scores[~allowed] = 0
        rows = np.flatnonzero(scores)
        if len(rows) > k:
            rows = rows[np.argpartition(-scores[rows], k - 1)[:k]]
        return [int(row) for row in rows[np.lexsort((rows, -scores[rows]))]]

    def coverage(self, question: str, rows: Sequence[int]) -> list[float]:
        """For each row, which share of the question's words it holds, 0 to 1, a word counting by how rare it is (its idf).

        A word that no passage holds is the rarest there is, so a question about something else is covered little.
        """
        covered, total = np.zeros(len(rows)), 0.0
        indptr, indices = self._bm25.scores["indptr"], self._bm25.scores["indices"]
        for term in telling(question):
            found = self._id(term)
            holders = indices[indptr[found] : indptr[found + 1]] if found is not None else indices[:0]
            idf = math.log(1 + (len(self) - len(holders) + 0.5) / (len(holders) + 0.5))
            total += idf
            if len(holders):
                at = np.minimum(np.searchsorted(holders, rows), len(holders) - 1)
                covered += idf * (holders[at] == np.asarray(rows))
        return [float(share) for share in covered / total] if total else [0.0] * len(rows)

    def _id(self, term: str) -> int | None:
        wanted, low, high = term.encode(), 0, len(self._places) - 1
        while low < high:
            middle = (low + high) // 2
            if self._term(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self._places) - 1 and self._term(low) == wanted else None

    def _term(self, number: int) -> bytes:
        return self._text[self._places[number] : self._places[number + 1] - 1].tobytes()


def write(texts: Iterable[str], folder: Path) -> None:
    """Builds the index of the texts, which are its rows in order, into the folder."""
    numbers: dict[str, int] = {}
    rows = [np.array([numbers.setdefault(term, len(numbers)) for term in words(text)], dtype=np.int32) for text in texts]
    ordered = sorted(numbers, key=str.encode)
    place = np.empty(max(1, len(ordered)), dtype=np.int32)
    for new, term in enumerate(ordered):
        place[numbers[term]] = new
    bm25: Any = bm25s.BM25(method="lucene")
    with np.errstate(invalid="ignore"):  # the mean length of texts without a word
        bm25.index(([place[row].tolist() for row in rows], {term: new for new, term in enumerate(ordered)} or {"": 0}),
               create_empty_token=False, show_progress=False)  # fmt: skip
    bm25.vocab_dict = {}  # kept by us, where it need not be loaded
    bm25.save(folder, show_progress=False)
    lines = [f"{term}\n".encode() for term in ordered]
    (folder / TERMS).write_bytes(b"".join(lines) or b"\n")
    np.save(folder / PLACES, np.concatenate([[0], np.cumsum([len(line) for line in lines])]).astype(np.int64))
