"""Can the two be told apart: a classifier two-sample test on embeddings, cross-validated (Lopez-Paz and Oquab, 2017).

    accuracy 0.5: they cannot; 1: every text gives itself away. The A-distance of the literature is 2 (2 accuracy - 1).

It saturates soon: any narrow task is told from everyday text. It says that they differ, never how far. Its null is the same
test between halves of the everyday texts, which are fewer than the whole, so that it spreads further. Knows no length: what
it is given should be matched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from advisor.evidence import Evidence, wilson
from advisor.linear import separable
from advisor.shift.sample import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDS, SPLITS = 5, 20
PENALTY = 0.01


def c2st(ours: Sample, theirs: Sample, seed: int) -> list[Evidence]:
    rng = np.random.default_rng(seed)
    n = min(len(ours), len(theirs))
    hits, of = _told_apart(_drawn(ours, n, rng), _drawn(theirs, n, rng), seed)
    null = np.array([_split(theirs, split, rng) for split in range(SPLITS)])
    low, high = np.quantile(null, [0.025, 0.975])
    said = f"logistic regression on MiniLM embeddings, {FOLDS} folds, {n} texts of each side"
    return [
        Evidence(
            "c2st_accuracy", round(hits / of, 4), "share", f"texts told from everyday ones by a {said}", len(ours),
            wilson(hits, of),
        ),
        Evidence(
            "c2st_null", round(float(null.mean()), 4), "share",
            f"the same between random halves of the everyday texts, {SPLITS} splits", len(theirs),
            (round(float(low), 4), round(float(high), 4)),
        ),
    ]  # fmt: skip


def _split(sample: Sample, number: int, rng: np.random.Generator) -> float:
    order, half = rng.permutation(len(sample)), len(sample) // 2
    if half == 0:
        return 0.5
    vectors = sample.vectors.astype(np.float64)
    hits, of = _told_apart(vectors[order[:half]], vectors[order[half : 2 * half]], number)
    return hits / of


def _drawn(sample: Sample, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return sample.vectors[rng.permutation(len(sample))[:n]].astype(np.float64)


def _told_apart(one: NDArray[np.float64], other: NDArray[np.float64], seed: int) -> tuple[int, int]:
    """Hits and trials; of one text a side nothing can be learned, and a coin is right half of the time."""
    if len(one) < 2:
        return 1, 2
    return separable(one, other, PENALTY, min(FOLDS, len(one)), seed)
