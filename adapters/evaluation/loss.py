"""How surprised a model is by the answers: nats per supervised token, bits per byte of answer.

The training loop and the scorecards take the very same loss from here. Knows no data file and no method, and loads
torch only when a model is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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

    Logits are made only at the positions some row is learned at (`logits_to_keep`): for short answers to long prompts
    and large vocabularies they would otherwise be most of the memory.
    """
    import torch
    from torch.nn.functional import cross_entropy

    labels = batch.labels[:, 1:]  # the logits at one position foretell the next token
    columns = (labels != IGNORED).any(dim=0).nonzero().squeeze(1)
    logits = model(input_ids=batch.input_ids, use_cache=False, logits_to_keep=columns).logits
    labels = labels[:, columns]
    learned = labels != IGNORED
    losses = cross_entropy(logits[learned].float(), labels[learned], reduction="none")
    rows = learned.nonzero()[:, 0]
    return torch.zeros(len(labels), dtype=losses.dtype, device=losses.device).index_add(0, rows, losses)


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
