"""How surprised a model is by the answers: nats per supervised token, bits per byte of answer.

The training loop and the scorecards take the very same loss from here. Knows no data file and no method, and loads
torch only when a model is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapters.data.batches import Batch, by_length, collate
from adapters.data.tokens import IGNORED, Encoded

if TYPE_CHECKING:
    import torch
    from torch import nn

ROWS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class RowLoss:
    nats: float
    """Summed over the row's supervised tokens."""
    tokens: int
    answer_bytes: int


def row_losses(model: nn.Module, batch: Batch) -> torch.Tensor:
    """(rows,), fp32: each row's cross-entropy in nats, summed over its supervised tokens; differentiable.

    The output layer is asked only for positions some row is learned at (`logits_to_keep`), and, where it is a plain
    matrix whose answer the model passes on as it is, for their losses in place of logits: for short answers to long
    prompts and large vocabularies the logits would be most of the memory and much of the time.
    """
    labels = batch.labels[:, 1:]  # the logits at one position foretell the next token
    columns = (labels != IGNORED).any(dim=0).nonzero().squeeze(1)
    labels = labels[:, columns]
    head = _plain_head(model)
    if head is not None:
        with _asked_for_losses(head, labels) as losses:
            said = model(input_ids=batch.input_ids, use_cache=False, logits_to_keep=columns).logits
        first: torch.Tensor | None = next(iter(losses), None)
        if first is not None and said is first:
            return first
        head.is_not_last = True  # the model bends logits (a soft cap, a scale), so their losses were not its own
    logits = model(input_ids=batch.input_ids, use_cache=False, logits_to_keep=columns).logits
    return _sums(labels, lambda learned, wanted: _plain_losses(logits[learned], wanted))


def _plain_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits.float(), targets, reduction="none")


def _plain_head(model: Any) -> Any:
    """The output layer, where it is a matrix and nothing else is done to its logits as far as is known."""
    import torch

    inner = getattr(model, "module", model)  # several processes wrap the model
    head = inner.get_output_embeddings() if hasattr(inner, "get_output_embeddings") else None
    if type(head) is not torch.nn.Linear or getattr(head, "is_not_last", False):
        return None
    bias: torch.Tensor | None = head.bias
    return head if bias is None else None


@contextmanager
def _asked_for_losses(head: Any, labels: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """Within, the output layer answers with the rows' losses, and the list holds what it answered."""
    import torch

    from adapters.evaluation.cross_entropy import linear_cross_entropy

    said: list[torch.Tensor] = []

    def losses(hidden: torch.Tensor) -> torch.Tensor:
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else head.weight.dtype
        weight = head.weight.to(dtype)
        said.append(_sums(labels, lambda learned, wanted: linear_cross_entropy(hidden[learned].to(dtype), weight, wanted)))
        return said[0]

    before = vars(head).get("forward")
    head.forward = losses
    try:
        yield said
    finally:
        del head.forward
        if before is not None:
            head.forward = before


def _sums(labels: torch.Tensor, losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """(rows,): the losses at learned positions, given where they are and what is wanted there, summed by row."""
    import torch

    learned = labels != IGNORED
    found = losses(learned, labels[learned])
    rows = learned.nonzero()[:, 0]
    return torch.zeros(len(labels), dtype=found.dtype, device=found.device).index_add(0, rows, found)


def measure(
    model: nn.Module, rows: Sequence[Encoded], device: torch.device, between: Callable[[], None] = lambda: None
) -> list[RowLoss]:
    """The loss of every row, in the rows' order, without gradients. `between` is called between batches."""
    import torch

    model.eval()
    nats = [0.0] * len(rows)
    with torch.inference_mode():
        for group in by_length([len(row.input_ids) for row in rows], ROWS_AT_ONCE):
            between()
            losses = row_losses(model, collate([rows[index] for index in group]).to(device)).tolist()
            for index, loss in zip(group, losses, strict=True):
                nats[index] = loss
    return [RowLoss(loss, row.supervised, row.answer_bytes) for loss, row in zip(nats, rows, strict=True)]


def nats_per_token(losses: Sequence[RowLoss]) -> float:
    return sum(loss.nats for loss in losses) / sum(loss.tokens for loss in losses)


def bits_per_byte(losses: Sequence[RowLoss]) -> float:
    """Comparable between bases with different tokenizers, which nats per token are not."""
    return sum(loss.nats for loss in losses) / math.log(2) / sum(loss.answer_bytes for loss in losses)
