"""A linear head on frozen vectors: multinomial logistic regression, its L2 penalty chosen by cross-validation.

The penalised loss is convex, so L-BFGS finds its one minimum. Knows no encoder and no task.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""On half the squared norm of the matrix, beside the mean loss of a row; of equals the first."""
FOLDS = 5
WHERE_NOTHING_TELLS = 1e-3


def predicted(vectors: torch.Tensor, labels: Sequence[str], asked: torch.Tensor, seed: int) -> tuple[list[str], float, int]:
    """Labels of `asked`, the penalty, and how many numbers were learned. Vectors are (rows, width), fp32."""
    import torch

    known = sorted(set(labels))
    wanted = torch.tensor([known.index(label) for label in labels], device=vectors.device)
    penalty = _penalty(vectors, wanted, len(known), seed)
    weights, bias = _fit(vectors, wanted, len(known), penalty)
    found = (asked @ weights.T + bias).argmax(dim=1).tolist()
    return [known[number] for number in found], penalty, weights.numel() + bias.numel()


def _penalty(vectors: torch.Tensor, wanted: torch.Tensor, classes: int, seed: int) -> float:
    """The one with the lowest loss on left-out rows whose label the others have."""
    import torch
    from torch.nn.functional import cross_entropy

    folds = _folds(wanted.tolist(), seed)
    losses = dict.fromkeys(PENALTIES, 0.0)
    judged = 0
    for fold in range(FOLDS):
        inside = torch.tensor([one != fold for one in folds], device=vectors.device)
        seen = set(wanted[inside].tolist())
        rows = [row for row, label in enumerate(wanted.tolist()) if folds[row] == fold and label in seen]
        judged += len(rows)
        if not rows:
            continue
        outside = torch.tensor(rows, device=vectors.device)
        for penalty in PENALTIES:
            weights, bias = _fit(vectors[inside], wanted[inside], classes, penalty)
            losses[penalty] += cross_entropy(vectors[outside] @ weights.T + bias, wanted[outside], reduction="sum").item()
    return min(PENALTIES, key=lambda penalty: losses[penalty]) if judged else WHERE_NOTHING_TELLS


def _folds(wanted: Sequence[int], seed: int) -> list[int]:
    """A fold for each row; a label's rows are dealt out in turn."""
    dice, members = random.Random(seed), defaultdict(list)
    for row in dice.sample(range(len(wanted)), len(wanted)):
        members[wanted[row]].append(row)
    folds = [0] * len(wanted)
    for turn, row in enumerate(row for _, rows in sorted(members.items()) for row in rows):
        folds[row] = turn % FOLDS
    return folds


def _fit(vectors: torch.Tensor, wanted: torch.Tensor, classes: int, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    import torch
    from torch.nn.functional import cross_entropy

    weights = torch.zeros(classes, vectors.shape[1], device=vectors.device, requires_grad=True)
    bias = torch.zeros(classes, device=vectors.device, requires_grad=True)
    solver = torch.optim.LBFGS([weights, bias], max_iter=100, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        found = cross_entropy(vectors @ weights.T + bias, wanted) + penalty / 2 * weights.square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    solver.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach(), bias.detach()
