"""The rows whose questions mean most nearly the same: cosine of their vectors, exact. Knows no encoder."""

from __future__ import annotations

import numpy as np

from adapters.prompting.pool import Pool
from adapters.prompting.selectors.contract import Asked


class NearestNeighbours:
    by_question = True
    needs_vectors = True

    def rank(self, pool: Pool, asked: Asked) -> list[int]:
        return nearest(pool, asked, asked.k)


def nearest(pool: Pool, asked: Asked, most: int) -> list[int]:
    """Allowed rows by falling cosine; of two equally near ones, the one that stands first in the pool."""
    assert pool.vectors is not None  # `choose` has looked
    assert asked.vector is not None
    candidates = np.flatnonzero(asked.allowed)
    cosines = (pool.vectors @ asked.vector)[candidates]
    return [int(row) for row in candidates[np.argsort(-cosines, kind="stable")[:most]]]
