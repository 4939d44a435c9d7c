"""Two rankings made one, by reciprocal ranks. Knows no passage: only who came where, and how well found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

K = 60
"""Cormack, Clarke and Büttcher (SIGIR 2009), who chose it once and found that little depends on it."""

LEXICAL_WEIGHT = 0.3
"""With it the fused ranking is no worse than the better of its parts where meaning finds most, and where words do; chosen on
training rows of both kinds (tests/bench/retrieving.py). At 0.5 it fell behind the first."""


def fused(
    dense: Sequence[int],
    lexical: Sequence[int],
    lexical_weight: float,
    cosine: Mapping[int, float],
    coverage: Mapping[int, float],
) -> list[int]:
    """Rows of either ranking (best first), best first.

    A row gains (1 - w) * cosine / (K + its dense rank) + w * coverage / (K + its lexical rank); a ranking that does not hold
    it gives it nothing. Plain reciprocal rank fusion lets the best of a ranking count the same whether it answers the question
    or is only the least bad; a vote worth as much as what was found, 0 to 1, does not. Of equals, the nearer comes first.
    """
    gained = dict.fromkeys((*dense, *lexical), 0.0)
    for rank, row in enumerate(dense, start=1):
        gained[row] += (1 - lexical_weight) * max(0.0, cosine[row]) / (K + rank)
    for rank, row in enumerate(lexical, start=1):
        gained[row] += lexical_weight * coverage[row] / (K + rank)
    return sorted(gained, key=lambda row: -gained[row])
