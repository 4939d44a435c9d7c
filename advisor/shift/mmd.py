"""Is there a difference at all: maximum mean discrepancy of the embeddings, with a permutation test.

Unbiased MMD² with a Gaussian kernel whose width is the median distance (Gretton et al. 2012, JMLR 13, eq. 3). It lies
near 0 for equal distributions. The null spans halves of the everyday texts. A difference can be certain and small; how
large it is says `distance.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from advisor.evidence import Evidence
from advisor.shift.sample import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERMUTATIONS, SPLITS = 300, 100


def mmd(ours: Sample, theirs: Sample, seed: int) -> list[Evidence]:
    rng = np.random.default_rng(seed)
    kernel = _kernel(np.concatenate([ours.vectors, theirs.vectors]).astype(np.float64))
    labels = np.arange(len(kernel)) < len(ours)
    value = _unbiased(kernel, labels)
    null = np.array([_unbiased(kernel, rng.permutation(labels)) for _ in range(PERMUTATIONS)])
    # the observed labelling is one of the permutations, so p is never 0 (Phipson & Smyth 2010)
    p = (1 + int((null >= value).sum())) / (1 + PERMUTATIONS)
    halves = _halves(kernel[len(ours) :, len(ours) :], rng)
    low, high = np.quantile(halves, [0.025, 0.975])
    against = f"{len(ours)} rows and {len(theirs)} everyday texts, labels permuted {PERMUTATIONS} times"
    return [
        Evidence(
            "mmd2", round(value, 5), "squared distance", "unbiased, Gaussian kernel of median width, MiniLM embeddings",
            len(ours),
        ),
        Evidence(
            "mmd2_null", round(float(halves.mean()), 5), "squared distance",
            f"the same between random halves of the everyday texts, {SPLITS} splits", len(theirs),
            (round(float(low), 5), round(float(high), 5)),
        ),
        Evidence("shift_p_value", round(p, 4), "probability", f"permutation test of mmd2: {against}", len(ours)),
    ]  # fmt: skip


def _halves(kernel: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    first = np.arange(len(kernel)) < len(kernel) // 2
    return np.array([_unbiased(kernel, rng.permutation(first)) for _ in range(SPLITS)])


def _kernel(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = np.maximum(0.0, 2 - 2 * vectors @ vectors.T)  # vectors have length 1
    width = float(np.median(squared[np.triu_indices(len(squared), 1)])) or 1.0  # 0 where all texts are the same
    return np.exp(-squared / width)


def _unbiased(kernel: NDArray[np.float64], first: NDArray[np.bool_]) -> float:
    """Means over pairs of different texts; nan for a sample of one is avoided by taking its own mean as 1."""
    x = first.astype(np.float64)
    y = 1 - x
    n, m = x.sum(), y.sum()
    if n == 0 or m == 0:
        return 0.0
    within_x = (x @ kernel @ x - n) / (n * (n - 1)) if n > 1 else 1.0
    within_y = (y @ kernel @ y - m) / (m * (m - 1)) if m > 1 else 1.0
    return float(within_x + within_y - 2 * (x @ kernel @ y) / (n * m))
