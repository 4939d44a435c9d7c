"""What is minimised: the loss of rows under a model, one objective for each kind of row.

`sft` and `lm` take the cross-entropy at supervised tokens, `dpo` prefers one answer to another, `classification` is the
cross-entropy of labels. The loop sums losses and divides by weights; it knows no objective. Knows no method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.functional import cross_entropy, logsigmoid

from adapters.data.batches import collate
from adapters.data.tokens import Encoded
from adapters.evaluation.loss import ROWS_AT_ONCE, RowLoss, measure, row_losses
from adapters.tuning.ranks import Ranks
from adapters.tuning.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Pair:
    """One question with the answer that is wanted and one that is not."""

    chosen: Encoded
    rejected: Encoded
    reference: tuple[float, float]
    """Log-probabilities, in nats, of the two answers under the model before tuning."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and which of the labels it has."""

    text: str
    label: int
    features: torch.Tensor | None = None
    """(features,), fp32, where they were computed before; None where the model reads the text itself."""


class Objective(Protocol):
    def length(self, row: Any) -> int:
        """Tokens the model reads, by which rows are put together."""

    def weight(self, row: Any) -> int:
        """What a sum of losses is divided by."""

    def losses(self, model: nn.Module, rows: Sequence[Any], device: torch.device) -> torch.Tensor:
        """(rows,), fp32, in nats, differentiable."""


class Supervised:
    """Cross-entropy at the supervised tokens, averaged over all of them."""

    def length(self, row: Encoded) -> int:
        return len(row.input_ids)

    def weight(self, row: Encoded) -> int:
        return row.supervised

    def losses(self, model: nn.Module, rows: Sequence[Encoded], device: torch.device) -> torch.Tensor:
        return row_losses(model, collate(rows).to(device))


class Preference:
    """-log sigmoid(beta · ((chosen - its reference) - (rejected - its reference))) (Rafailov et al., 2023, equation 7)."""

    def __init__(self, beta: float) -> None:
        self.beta = beta

    def length(self, row: Pair) -> int:
        return max(len(row.chosen.input_ids), len(row.rejected.input_ids))

    def weight(self, row: Pair) -> int:
        return 1

    def losses(self, model: nn.Module, rows: Sequence[Pair], device: torch.device) -> torch.Tensor:
        both = [row.chosen for row in rows] + [row.rejected for row in rows]
        nats = row_losses(model, collate(both).to(device))
        chosen, rejected = -nats[: len(rows)], -nats[len(rows) :]
        before = torch.tensor([row.reference[0] - row.reference[1] for row in rows], device=device)
        return -logsigmoid(self.beta * (chosen - rejected - before))


class Classes:
    """Cross-entropy of the label, averaged over rows; the model gives (rows, labels) logits for a list of `Labelled`."""

    def length(self, row: Labelled) -> int:
        return len(row.text)

    def weight(self, row: Labelled) -> int:
        return 1

    def losses(self, model: nn.Module, rows: Sequence[Labelled], device: torch.device) -> torch.Tensor:
        wanted = torch.tensor([row.label for row in rows], device=device)
        return cross_entropy(model(rows).float(), wanted, reduction="none")


OBJECTIVES: dict[str, Callable[[Recipe], Objective]] = {
    "sft": lambda recipe: Supervised(),
    "lm": lambda recipe: Supervised(),
    "dpo": lambda recipe: Preference(recipe.beta),
    "classification": lambda recipe: Classes(),
}


def objective(recipe: Recipe) -> Objective:
    return OBJECTIVES[recipe.objective](recipe)


def mean_loss(
    asked: Objective, model: nn.Module, rows: Sequence[Any], device: torch.device, ranks: Ranks,
    between: Callable[[], None] = lambda: None,
) -> float:  # fmt: skip
    """The rows' loss, summed and divided by their weights, without gradients; each process measures its part of them."""
    model.eval()
    order = sorted(rows, key=asked.length, reverse=True)
    batches = [order[start : start + ROWS_AT_ONCE] for start in range(0, len(order), ROWS_AT_ONCE)]
    nats = 0.0
    # FSDP2 keeps the tensors that its first pass made, and in those of inference mode nothing can be learned
    with torch.inference_mode() if ranks.count == 1 else torch.no_grad():
        for batch, counts in ranks.share(batches):
            between()
            found = asked.losses(model, batch, device).sum().item()
            nats += found if counts else 0.0
    return ranks.sum(nats) / sum(map(asked.weight, rows))


def pairs(
    chosen: Sequence[Encoded], rejected: Sequence[Encoded], model: nn.Module, device: torch.device,
    between: Callable[[], None] = lambda: None,
) -> list[Pair]:  # fmt: skip
    """The rows of DPO. `model` must be as it is before tuning: its log-probabilities are the reference, computed once."""
    liked, disliked = measure(model, chosen, device, between), measure(model, rejected, device, between)
    return [Pair(*row, _reference(*nats)) for row, nats in zip(
        zip(chosen, rejected, strict=True), zip(liked, disliked, strict=True), strict=True
    )]  # fmt: skip


def _reference(chosen: RowLoss, rejected: RowLoss) -> tuple[float, float]:
    return -chosen.nats, -rejected.nats
