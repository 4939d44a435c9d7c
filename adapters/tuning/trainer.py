"""The training loop, one for every method: it is handed a prepared model and rows, and learns at supervised positions.

Reads top to bottom: batches, loss, step, validation, checkpoint. Continues from its folder's checkpoint as if it had
never stopped. Several processes run this page side by side, each on its share of every batch. Knows no method, no data
file and no scorecard.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from adapters.data.batches import epoch_windows
from adapters.errors import InvalidInput
from adapters.tuning import checkpoint
from adapters.tuning import ranks as ranked
from adapters.tuning.blocks import quicken
from adapters.tuning.checkpoint import BEST, CHECKPOINT
from adapters.tuning.objectives import Objective, mean_loss, objective
from adapters.tuning.progress import Progress
from adapters.tuning.ranks import Ranks
from adapters.tuning.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Outcome:
    steps: int
    best_step: int
    validation_loss: float
    """Nats per supervised token of the weights that were kept."""
    stopped_early: bool


FORGETTING = "forgetting_nats"
"""What `after_epoch` calls the rise of loss on the base's own words, which the recipe's budget bounds."""
MOST_TIME_SAVING = 0.05
"""Share of the time that checkpoints may take: of a whole model they are gigabytes, and then come less often."""

Rate = Callable[[str, int, Recipe], float]
"""Of a parameter, by name, in an epoch: its share of the recipe's learning rate."""


def train(
    model: nn.Module, train_rows: Sequence[Any], validation_rows: Sequence[Any], recipe: Recipe, run: Progress,
    *, rate: Rate = lambda parameter, epoch, recipe: 1.0, after_epoch: Callable[[], dict[str, float]] = dict,
    sharding: str = "ddp",
) -> Outcome:  # fmt: skip
    """Trains the model's trainable parameters in place and leaves it with the weights of the lowest validation loss.

    The rows are those of the recipe's objective. What `after_epoch` measures goes into the epoch's "validation" event.
    Raises Interrupted, with a checkpoint written, once `run.stop` is set; InvalidInput when the loss is no number.
    """
    aim = objective(recipe)
    accelerator, ranks = ranked.accelerator(sharding), Ranks()
    precision = torch.autocast(accelerator.device.type, torch.bfloat16, enabled=_computes_bf16(model))
    bare, trainable = model, _trainable(model)
    adam = torch.optim.AdamW(
        _groups(trainable, recipe, rate), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    quicken(model)
    model, optimiser = accelerator.prepare(model, adam)
    trainable = _trainable(bare)  # where processes share a model, each now holds a part of every parameter
    at = checkpoint.restore(run.folder / CHECKPOINT, trainable, adam)
    saved, saving_s = time.monotonic(), 0.0
    lengths = [aim.length(row) for row in train_rows]
    steps = recipe.epochs * math.ceil(len(train_rows) / recipe.batch_size)
    pace = _Pace(at.step, steps)
    run.event(
        "training", step=at.step, steps=steps, rows=len(train_rows), parameters=sum(p.numel() for p in trainable.values())
    )

    while at.epoch < recipe.epochs and at.epochs_without_gain < recipe.early_stop_patience:
        at_once = min(recipe.micro_batch_size, math.ceil(recipe.batch_size / ranks.count))
        windows = epoch_windows(
            lengths, batch_size=recipe.batch_size, micro_batch_size=at_once, seed=recipe.seed + at.epoch
        )  # fmt: skip
        model.train()
        for group in adam.param_groups:  # frozen for now: no gradient, no moment, no decay
            for parameter in group["params"]:
                parameter.requires_grad_(group["shares"][at.epoch] > 0)
        for window in windows[at.window :]:
            now = learning_rate(at.step, steps, recipe)
            for group in adam.param_groups:
                group["lr"] = now * group["shares"][at.epoch]
            batches = [[train_rows[row] for row in rows] for rows in window]
            loss = _backward(accelerator, ranks, precision, aim, model, batches)
            _refuse_nonsense(loss, at.step + 1)
            accelerator.clip_grad_norm_(trainable.values(), recipe.max_grad_norm)
            optimiser.step()
            optimiser.zero_grad()
            at.step, at.window = at.step + 1, at.window + 1
            said = pace.after(at.step, tokens=sum(lengths[row] for rows in window for row in rows))
            run.event("step", step=at.step, steps=steps, epoch=at.epoch + 1, loss=loss, learning_rate=now, **said)
            is_due = time.monotonic() - saved >= max(recipe.checkpoint_every_s, saving_s / MOST_TIME_SAVING)
            if run.stopping() or ranks.any(is_due):
                began = time.monotonic()
                checkpoint.save(run.folder / CHECKPOINT, trainable, adam, at)
                saved = time.monotonic()
                saving_s = saved - began
            run.raise_if_stopped()

        with precision:
            loss = mean_loss(aim, model, validation_rows, accelerator.device, ranks, between=run.raise_if_stopped)
            seen = after_epoch()
        _refuse_nonsense(loss, at.step)
        run.event("validation", loss=loss, step=at.step, epoch=at.epoch + 1, **seen)
        at.epoch, at.window, at.epochs_without_gain = at.epoch + 1, 0, at.epochs_without_gain + 1
        is_within = seen.get(FORGETTING, 0.0) <= (recipe.forgetting_budget or math.inf)
        if loss < at.best_loss and is_within:
            at.best_loss, at.best_step, at.epochs_without_gain = loss, at.step, 0
            # before the checkpoint that counts on it: killed in between, the epoch's end is simply done again
            checkpoint.save_weights(run.folder / BEST, trainable)
        checkpoint.keep_epoch(run.folder, trainable, at.step, keep=recipe.keep_checkpoints)
        checkpoint.save(run.folder / CHECKPOINT, trainable, adam, at)

    accelerator.wait_for_everyone()  # one of several processes writes the files
    if not (run.folder / BEST).is_file():
        raise InvalidInput(
            f"every epoch forgot more than the {recipe.forgetting_budget:g} nats per token of forgetting_budget; "
            "lower learning_rate, or set replay_share",
            param="forgetting_budget",
        )
    checkpoint.restore_weights(run.folder / BEST, trainable)
    for parameter in trainable.values():
        parameter.requires_grad_(True)
    return Outcome(at.step, at.best_step, at.best_loss, stopped_early=at.epoch < recipe.epochs)


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _groups(trainable: dict[str, nn.Parameter], recipe: Recipe, rate: Rate) -> list[dict[str, Any]]:
    """The optimiser's groups: parameters that move alike, with their share of the learning rate in each epoch."""
    alike: dict[tuple[float, ...], list[nn.Parameter]] = {}
    for name, parameter in trainable.items():
        shares = tuple(rate(name, epoch, recipe) for epoch in range(recipe.epochs))
        alike.setdefault(shares, []).append(parameter)
    return [{"params": parameters, "shares": shares} for shares, parameters in alike.items()]


def _backward(
    accelerator: Accelerator, ranks: Ranks, precision: torch.autocast, aim: Objective, model: nn.Module,
    window: list[list[Any]],
) -> float:  # fmt: skip
    """Gradients and loss of one window: the mean over all its rows' weight, however they fall into micro-batches."""
    # the mean over processes is taken of gradients, so each process's part is made that much larger
    weight = sum(aim.weight(row) for rows in window for row in rows) / ranks.count
    losses = []
    shares = ranks.share(window)
    for number, (rows, counts) in enumerate(shares, start=1):
        with ranks.apart(model, is_last=number == len(shares)):
            with precision:
                share = aim.losses(model, rows, accelerator.device).sum() / (weight if counts else math.inf)
            accelerator.backward(share)
        losses.append(share.detach())
    loss = torch.stack(losses).sum().item()  # waits for the device once a window, not once a batch
    return ranks.sum(loss) / ranks.count


def _refuse_nonsense(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise InvalidInput(f"the loss is {loss} after {step} steps; lower learning_rate", param="learning_rate")


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """Linear warm-up, then half a cosine down to zero; `step` counts from 0."""
    warmup = math.ceil(recipe.warmup_share * steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class _Pace:
    """Tokens per second and time left, of this process only: a run that was continued must not average its pause in."""

    def __init__(self, step: int, steps: int) -> None:
        self.first, self.steps, self.started, self.tokens = step, steps, time.monotonic(), 0

    def after(self, step: int, *, tokens: int) -> dict[str, float]:
        self.tokens += tokens
        elapsed_s = time.monotonic() - self.started
        left_s = elapsed_s / (step - self.first) * (self.steps - step)
        return {"tokens": tokens, "tokens_per_s": round(self.tokens / elapsed_s, 1), "seconds_left": round(left_s, 1)}


def _computes_bf16(model: nn.Module) -> bool:
    """Frozen weights tell, or a model whose own weights are tuned in fp32 and says what it computes in."""
    return getattr(model, "computes_in", None) == torch.bfloat16 or any(
        parameter.dtype == torch.bfloat16 for parameter in model.parameters()
    )
