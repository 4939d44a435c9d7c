"""One row of each answer in turn, so that no label is shown more often than another. Answers are taken as classes.

Within a class the seed decides; the classes take turns in the order in which the draw meets them.
"""

from __future__ import annotations

from itertools import islice, zip_longest

from adapters.prompting.pool import Pool, asked_key
from adapters.prompting.selectors.contract import Asked, drawn


class Balanced:
    by_question = False
    needs_vectors = False

    def rank(self, pool: Pool, asked: Asked) -> list[int]:
        classes = pool.once(("balanced", asked.seed), lambda: _classes(pool, asked.seed))
        kept = ([row for row in rows if asked.allowed[row]] for rows in classes)
        in_turn = (row for turn in zip_longest(*kept) for row in turn if row is not None)
        return list(islice(in_turn, asked.k))


def _classes(pool: Pool, seed: int) -> list[list[int]]:
    found: dict[str, list[int]] = {}
    for row in drawn(len(pool.rows), seed):
        found.setdefault(asked_key(pool.rows[row].assistant), []).append(row)
    return list(found.values())
