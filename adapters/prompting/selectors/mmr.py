"""Rows that are near the question but not near each other: maximal marginal relevance (Carbonell and Goldstein, 1998).

Each pick has the highest RELEVANCE * cos(row, question) - (1 - RELEVANCE) * max cos(row, picked), among the nearest rows.
"""

from __future__ import annotations

import numpy as np

from adapters.prompting.pool import Pool
from adapters.prompting.selectors.contract import Asked
from adapters.prompting.selectors.knn import nearest

RELEVANCE = 0.5
"""The paper's lambda: 1 would be knn."""
CANDIDATES_PER_SHOT, FEWEST_CANDIDATES = 4, 32
"""How many of the nearest rows are looked at: far ones are different, but that is all they are."""


class MarginalRelevance:
    by_question = True
    needs_vectors = True

    def rank(self, pool: Pool, asked: Asked) -> list[int]:
        near = nearest(pool, asked, max(FEWEST_CANDIDATES, CANDIDATES_PER_SHOT * asked.k))
        assert pool.vectors is not None  # `nearest` has used both
        assert asked.vector is not None
        vectors = np.asarray(pool.vectors[near])
        relevance = RELEVANCE * (vectors @ asked.vector)
        likeness = np.zeros(len(near), dtype=np.float32)
        picked: list[int] = []
        left = np.ones(len(near), dtype=bool)
        while left.any() and len(picked) < asked.k:
            worth = np.where(left, relevance - (1 - RELEVANCE) * likeness, -np.inf)
            best = int(np.argmax(worth))
            likeness = vectors @ vectors[best] if not picked else np.maximum(likeness, vectors @ vectors[best])
            left[best] = False
            picked.append(best)
        return [near[number] for number in picked]
