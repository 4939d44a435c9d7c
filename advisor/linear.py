"""Linear classifiers on frozen vectors, in closed form or a few Newton steps: small enough to be fitted a hundred times.

Knows no text and no encoder; numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PENALTIES = (0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
"""Of ridge regression, a row. Texts under one instruction have vectors that differ little, and need the smallest."""
NEWTON_STEPS = 12


def logistic(vectors: NDArray[np.float64], wanted: NDArray[np.bool_], penalty: float) -> tuple[NDArray[np.float64], float]:
    """Weights and bias of an L2-penalised logistic regression: mean loss + penalty / 2 * |weights|^2, by Newton's method in
    the space of the rows, whose number may be below the width."""
    middle = vectors.mean(axis=0)
    gram = (vectors - middle) @ (vectors - middle).T
    n = len(gram)
    spread = np.concatenate([gram / (penalty * n), np.ones((n, 1))], axis=1)  # scores = spread @ (pull of each row, bias)
    target, state = wanted.astype(np.float64), np.zeros(n + 1)
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(spread @ state, -30, 30)))
        slope = np.maximum(chance * (1 - chance), 1e-6)
        # at the optimum every row pulls by what it is wrong about, and the pulls add up to 0
        left = np.zeros((n + 1, n + 1))
        left[:n] = slope[:, None] * spread
        left[:n, :n] += np.eye(n)
        left[n, :n] = 1.0
        right = np.append(target - chance - state[:n], -state[:n].sum())
        step = np.linalg.solve(left, right)
        state = state + step
        if np.abs(step).max() < 1e-8:
            break
    weights = (vectors - middle).T @ state[:n] / (penalty * n)
    return weights, float(state[n] - middle @ weights)


def separable(one: NDArray[np.float64], other: NDArray[np.float64], penalty: float, folds: int, seed: int) -> tuple[int, int]:
    """How many of both samples' vectors a logistic regression tells apart that was fitted without them, and of how many.

    Both samples are equally many, and each fold leaves out as many of one as of the other.
    """
    rng = np.random.default_rng(seed)
    fold = np.concatenate([rng.permutation(len(one)) % folds, rng.permutation(len(other)) % folds])
    both = np.concatenate([one, other])
    wanted = np.arange(len(both)) < len(one)
    hits = 0
    for number in range(folds):
        inside = fold != number
        if inside.all() or len(set(wanted[inside].tolist())) < 2:
            continue
        weights, bias = logistic(both[inside], wanted[inside], penalty)
        hits += int(((both[~inside] @ weights + bias > 0) == wanted[~inside]).sum())
    return hits, len(both)


@dataclass(frozen=True, slots=True)
class Ridge:
    """Least squares on one column a label with an L2 penalty; the largest column wins."""

    right: NDArray[np.bool_]
    """(rows,): whether each row would be labelled rightly by a fit to all the others."""
    penalty: float


def left_out(vectors: NDArray[np.float64], labels: NDArray[np.int64], classes: int) -> Ridge:
    """Each row labelled by a fit without it, exactly and for all rows at once (Allen's PRESS, 1974); the penalty with the
    smallest squared error of rows left out."""
    basis, hat = _basis(vectors)
    wanted = _columns(labels, classes)
    best: tuple[float, NDArray[np.bool_], float] | None = None
    for penalty in PENALTIES:
        shrink = hat / (hat + penalty * len(vectors))
        fitted = basis @ (shrink[:, None] * (basis.T @ wanted))
        share = (basis**2 @ shrink)[:, None]
        without = (fitted - share * wanted) / np.maximum(1 - share, 1e-9)
        error = float(((without - wanted) ** 2).mean())
        if best is None or error < best[0]:
            best = (error, without.argmax(axis=1) == labels, penalty)
    assert best is not None
    return Ridge(best[1], best[2])


def transferred(
    vectors: NDArray[np.float64], labels: NDArray[np.int64], classes: int, rows: NDArray[np.int64], penalty: float
) -> float:
    """The share of the other rows that a fit to `rows` labels rightly."""
    basis, hat = _basis(vectors[rows])
    shrink = 1 / (hat + penalty * len(rows))
    weights = _augmented(vectors[rows]).T @ (basis @ (shrink[:, None] * (basis.T @ _columns(labels[rows], classes))))
    others = np.setdiff1d(np.arange(len(vectors)), rows)
    return float(((_augmented(vectors[others]) @ weights).argmax(axis=1) == labels[others]).mean())


def _basis(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Left singular vectors and squared singular values, of vectors with a constant beside them."""
    left, values, _ = np.linalg.svd(_augmented(vectors), full_matrices=False)
    kept = values > 1e-8 * values[0]
    return left[:, kept], values[kept] ** 2


def _augmented(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([vectors, np.ones((len(vectors), 1))], axis=1)


def _columns(labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    wanted: NDArray[np.float64] = np.zeros((len(labels), classes))
    wanted[np.arange(len(labels)), labels] = 1.0
    return wanted


def numbered(labels: Sequence[str]) -> tuple[NDArray[np.int64], int]:
    """Labels as numbers from 0 in their order, and how many there are."""
    known = {label: number for number, label in enumerate(sorted(set(labels)))}
    return np.array([known[label] for label in labels], dtype=np.int64), len(known)
