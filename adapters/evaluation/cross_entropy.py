"""Cross-entropy through an output layer, a slice of positions at a time, so that never all logits are held.

The gradients are made beside the losses, while a slice's logits are at hand: nothing is computed twice. Knows no rows.
"""

from __future__ import annotations

from typing import Any

import torch

LOGITS_AT_ONCE = 2**26
"""Of one slice: 128 MiB in bf16; with Gemma's 262,144 words, 256 positions."""
CACHED = 2**20
"""Logits that go through the exponential together on a CPU, in fp32: 4 MiB stay in its cache."""


def linear_cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(positions,), fp32: nats at each position of (positions, hidden), (vocabulary, hidden) and (positions,) ids.

    Equal to `cross_entropy((hidden @ weight.T).float(), targets, reduction="none")`, gradients too.
    """
    if not torch.is_grad_enabled():  # within the function below one cannot tell
        return _in_slices(hidden, weight, targets, (False, False))[0]
    return _LinearCrossEntropy.apply(hidden, weight, targets)  # type: ignore[no-any-return, no-untyped-call]


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses, ctx.to_hidden, ctx.to_weight = _in_slices(hidden, weight, targets, ctx.needs_input_grad[:2])
        if ctx.to_weight is not None:  # may be needed again
            ctx.save_for_backward(hidden, weight, targets)
        return losses

    @staticmethod
    def backward(ctx: Any, *shares: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        (share,) = shares
        to_hidden, to_weight = ctx.to_hidden, ctx.to_weight
        if to_weight is not None:
            if (share == share[0]).all():
                to_weight = to_weight * share[0].to(to_weight.dtype)
            else:  # positions that count differently: their sum cannot be weighted after the fact
                hidden, weight, targets = ctx.saved_tensors
                _, _, to_weight = _in_slices(hidden, weight, targets, (False, True), share)
        if to_hidden is not None:
            to_hidden = to_hidden * share[:, None].to(to_hidden.dtype)
        return to_hidden, to_weight, None


def _in_slices(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    wanted: tuple[bool, bool],
    share: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Losses, and the gradients of their sum (weighted by `share`) to hidden and weight, where wanted."""
    losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    to_hidden = torch.empty_like(hidden) if wanted[0] else None
    to_weight: torch.Tensor | None = None
    positions = max(1, LOGITS_AT_ONCE // len(weight))
    for start in range(0, len(hidden), positions):
        part = slice(start, start + positions)
        logits = hidden[part] @ weight.T
        losses[part] = _to_gradient(logits, targets[part]) if any(wanted) else _losses(logits, targets[part])
        if share is not None:
            logits *= share[part, None].to(logits.dtype)
        if to_hidden is not None:
            torch.mm(logits, weight, out=to_hidden[part])
        if wanted[1]:
            to_weight = logits.T @ hidden[part] if to_weight is None else to_weight.addmm_(logits.T, hidden[part])
    return losses, to_hidden, to_weight


def _to_gradient(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The losses; the logits become their gradient, softmax less one at the target, in place."""
    losses = []
    for rows, wanted in _blocks(logits, targets):
        values = rows.log_softmax(dim=1, dtype=torch.float32)
        losses.append(-values.gather(1, wanted))
        values.exp_()
        rows.copy_(values.scatter_add_(1, wanted, torch.full_like(losses[-1], -1.0)))
    return torch.cat(losses).squeeze(1)


def _losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    found = [-rows.log_softmax(dim=1, dtype=torch.float32).gather(1, wanted) for rows, wanted in _blocks(logits, targets)]
    return torch.cat(found).squeeze(1)


def _blocks(logits: torch.Tensor, targets: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Rows of logits with their targets (rows, 1): all at once on a GPU, where each call costs more than the memory."""
    rows = max(1, CACHED // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    return list(zip(torch.split(logits, rows), torch.split(targets[:, None], rows), strict=True))
