"""A copy of the base, tuned by the product's own loop with its own defaults. Knows no task.

Checkpoints stay in memory: a table needs the best weights of an epoch and nothing of them afterwards.
"""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from adapters.conversation import Example
from adapters.data.tokens import encode_all
from adapters.errors import InvalidInput
from adapters.evaluation.loss import measure, nats_per_token
from adapters.methods.contract import Ground, Weights
from adapters.methods.full import Full
from adapters.methods.lora import Lora
from adapters.methods.prompt_tuning import PromptTuning
from adapters.tuning.recipe import Recipe, defaults
from tests.bench.outcome.answering import Base

WEIGHTS: dict[str, Weights] = {"lora": Lora(), "full": Full(), "prompt_tuning": PromptTuning()}
WATCHED_EVERY, FEWEST_TO_WATCH = 10, 64
"""From so many rows on, every tenth is left out of training and says when to stop; of fewer all are learned and the last epoch
that lowered their loss is kept."""
VALIDATED_AT_ONCE = 64
LONG_ROWS = 2048
"""Tokens a row may have where passages stand in it, beyond the default, with which most would be left out."""


@dataclass(frozen=True, slots=True)
class Tuned:
    model: Any
    ground: Ground
    recipe: Recipe
    parameters: int
    epochs_kept: float
    """Until the kept weights."""
    left_out: int
    """Rows that were too long."""


def recipe_for(method: str, rows: Sequence[Example], base: Base, seed: int, *, long: bool) -> Recipe:
    recipe = defaults(method, len(rows), base.facts)
    longest = min(base.facts.context, LONG_ROWS) if long else recipe.max_length
    return dataclasses.replace(recipe, seed=seed, micro_batch_size=recipe.batch_size, max_length=longest)


def tune(method: str, rows: Sequence[Example], base: Base, seed: int, *, long: bool = False) -> Tuned:
    """The tuned copy, rounded to the base's dtype as it would be saved."""
    from adapters.tuning import device, objectives
    from adapters.tuning.progress import Progress
    from adapters.tuning.trainer import train

    weights, recipe = WEIGHTS[method], recipe_for(method, rows, base, seed, long=long)
    learned, watched = list(rows), list(rows)
    if len(rows) >= FEWEST_TO_WATCH:
        watched = list(rows[WATCHED_EVERY - 1 :: WATCHED_EVERY])
        learned = [row for number, row in enumerate(rows, start=1) if number % WATCHED_EVERY]
    ground = Ground(recipe, base.folder, base.name, base.tokenizer, None, learned)
    asked = weights.asked(ground)
    encoded = [encode_all(asked.tokenizer, part, asked.template, recipe.max_length) for part in (learned, watched)]
    if not encoded[0][0]:
        raise InvalidInput(f"no row of {len(learned)} fits into {recipe.max_length} tokens", param="max_length")
    prepared = weights.prepare(copy.deepcopy(base.model), ground)
    parameters = sum(one.numel() for one in prepared.parameters() if one.requires_grad)
    with (
        tempfile.TemporaryDirectory() as place,
        _checkpoints_in_memory(),
        patch.object(objectives, "ROWS_AT_ONCE", VALIDATED_AT_ONCE),
    ):
        progress = Progress(Path(place))
        outcome = train(prepared, encoded[0][0], encoded[1][0] or encoded[0][0], recipe, progress, rate=weights.rate)
        progress.close()
    epoch_steps = -(-len(encoded[0][0]) // recipe.batch_size)
    model: Any = prepared.to(device.dtype()).requires_grad_(False).eval()
    return Tuned(model, asked, recipe, parameters, outcome.best_step / epoch_steps, len(encoded[0][1]))


@contextmanager
def _checkpoints_in_memory() -> Iterator[None]:
    from adapters.tuning import checkpoint

    kept: dict[Path, dict[str, Any]] = {}

    def keep(path: Path, trainable: Mapping[str, Any]) -> None:
        path.touch()
        kept[path] = {name: parameter.detach().clone() for name, parameter in trainable.items()}

    def give_back(path: Path, trainable: Mapping[str, Any]) -> None:
        for name, parameter in trainable.items():
            parameter.data.copy_(kept[path][name])

    def nothing(*_: Any) -> None: ...

    with patch.multiple(checkpoint, save=nothing, save_weights=keep, restore_weights=give_back):
        yield


def forgotten(base: Base, model: Any) -> float:
    """The rise of loss on what the base says of itself, in nats a token."""
    return nats_per_token(measure(model, base.general, base.model.device)) - base.general_nats


def changed(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe is not as `Recipe` has it."""
    plain = Recipe(recipe.method)
    values = dataclasses.asdict(recipe)
    return {"method": recipe.method} | {name: value for name, value in values.items() if value != getattr(plain, name)}
