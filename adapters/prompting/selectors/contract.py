"""What a selector is: it ranks the rows of a pool for a question. Knows no budget, no order of display and no file.

To add a selector: one file with a class that fits `Selector`, one row in `table.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adapters.prompting.pool import Pool, Vectors


@dataclass(frozen=True, slots=True)
class Asked:
    question: str
    vector: Vectors | None
    """(width,), of length 1."""
    k: int
    """At least 1."""
    seed: int
    allowed: NDArray[np.bool_]
    """(rows,): only these may be ranked."""


class Selector(Protocol):
    by_question: bool
    """Whether another question gets other shots. Where not, the shots may as well be fixed, and a prefix cache keeps them."""
    needs_vectors: bool
    """Whether pool and question must be encoded."""

    def rank(self, pool: Pool, asked: Asked) -> list[int]:
        """Numbers of at most k allowed rows, the most suitable first. The same input always gives the same ranking."""


def drawn(rows: int, seed: int) -> Iterator[int]:
    """The row numbers in an order that the seed decides; as many as are taken are drawn (Fisher and Yates, lazily)."""
    generator, moved = random.Random(seed), dict[int, int]()  # noqa: S311  # a draw, not a secret
    for place in range(rows):
        other = generator.randrange(place, rows)
        yield moved.get(other, other)
        moved[other] = moved.get(place, place)
