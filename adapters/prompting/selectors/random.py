"""Rows drawn by the seed: another seed, other rows; another question, the same. The yardstick for every cleverer choice."""

from __future__ import annotations

from itertools import islice

from adapters.prompting.pool import Pool
from adapters.prompting.selectors.contract import Asked, drawn


class Random:
    by_question = False
    needs_vectors = False

    def rank(self, pool: Pool, asked: Asked) -> list[int]:
        return list(islice((row for row in drawn(len(pool.rows), asked.seed) if asked.allowed[row]), asked.k))
