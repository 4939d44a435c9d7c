"""Nearest vectors, exactly: the one door to faiss. Knows no text and no encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import numpy as np

from adapters.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Index:
    """Inner product over all vectors, which is the cosine where they have length 1."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        if vectors.ndim != 2 or len(vectors) == 0:
            raise InvalidInput(f"an index needs vectors of shape (n, width), n above 0, not {vectors.shape}", param="vectors")
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, vectors: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and row numbers of the `k` nearest, best first, both of shape (len(vectors), min(k, len(self)))."""
        if k < 1:
            raise InvalidInput(f"k must be at least 1, not {k}", param="k")
        scores, ids = self._index.search(np.ascontiguousarray(vectors, dtype=np.float32), min(k, len(self)))
        return scores, ids
