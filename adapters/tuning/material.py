"""The data of a run, ready: what is learned, what is watched, what is asked, and what stands around every question.

Rows that are too long are left out and counted, never cut. Knows no model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adapters import bases
from adapters.conversation import Example
from adapters.data.dataset import Dataset, Splits, open_dataset, split
from adapters.data.tokens import Encoded, encode_all, encode_documents, encode_pair
from adapters.errors import InvalidInput
from adapters.evaluation.scorecard import sample
from adapters.methods.contract import Ground
from adapters.methods.table import method
from adapters.prompts import PromptTemplate
from adapters.tuning.fitting import check_fits
from adapters.tuning.machine import quantises
from adapters.tuning.memory import work
from adapters.tuning.progress import Progress
from adapters.tuning.request import RunRequest, data_file, held_out_file, replay_file, validation_file
from adapters.tuning.several import ONE, Processes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONGEST_ANSWER_TOKENS = 256
"""Answers are cut here when they are scored."""
LINES_SHOWN = 20
TEXT = "text"
"""The form of data that asks nothing."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Examples with their tokens, those that fit."""

    examples: list[Example]
    tokens: list[Encoded]
    """One for each example; of documents, one for each piece of at most `max_length` tokens."""
    rejected: list[Encoded]
    """Of preferences: the answers that are not wanted, in the order of `tokens`."""
    too_long: list[int]
    """Lines."""


@dataclass(frozen=True, slots=True)
class Material:
    data: Dataset
    facts: bases.BaseFacts
    ground: Ground
    baseline_template: PromptTemplate | None
    train: Rows
    validation: Rows
    scored: list[Example]
    held_out: int
    answer_tokens: int
    replay: list[Encoded]
    """Rows of the user's to learn beside the data's."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.ground.tokenizer

    @property
    def template(self) -> PromptTemplate | None:
        return self.ground.template


def read(folder: Path, request: RunRequest) -> tuple[Dataset, Splits]:
    """The run's data in its parts. Files of its own to validate or to be scored on take the place of shares split off."""
    recipe = request.recipe
    columns = {"prompt_column": request.prompt_column, "completion_column": request.completion_column}
    data = open_dataset(data_file(folder, request), shown_as=request.data_name, **columns)
    _check_form(data, request)
    parts = split(data, seed=recipe.seed, validation=recipe.validation_share, held_out=recipe.held_out_share)
    judged = held_out_file(folder)
    if judged is not None:
        parts = _judged_on(open_dataset(judged, shown_as=judged.name).examples, parts)
    own = validation_file(folder)
    if own is None:
        return data, parts
    watched = open_dataset(own, shown_as=request.validation_name, **columns).examples
    asked = {example.prompt_key for example in watched}
    train = tuple(example for example in (*parts.train, *parts.validation) if example.prompt_key not in asked)
    if not train:
        raise InvalidInput("every training row is in the validation file too; bring different rows", param="validation_file")
    held_out = tuple(example for example in parts.held_out if example.prompt_key not in asked) or parts.held_out
    return data, Splits(train, watched, held_out)


def _judged_on(held_out: Sequence[Example], parts: Splits) -> Splits:
    """Scored on these rows; what was split off to be scored on is learned from, and nothing is that they ask."""
    asked = {example.prompt_key for example in held_out}
    train, validation = (
        tuple(row for row in rows if row.prompt_key not in asked)
        for rows in ((*parts.train, *parts.held_out), parts.validation)
    )
    if not train or not validation:
        raise InvalidInput("the rows to be scored on ask all that the others do; bring different rows", param="held_out_file")
    return Splits(train, validation, tuple(held_out))


def fit(
    folder: Path, request: RunRequest, data: Dataset, parts: Splits, progress: Progress, processes: Processes = ONE,
    available: float | None = None,
) -> Material:  # fmt: skip
    """Tokens of every row, and a stop in a second if memory will not do. `available` in GiB; None: what is there."""
    recipe, facts = request.recipe, bases.facts(request.base_folder)
    tokenizer = bases.open_tokenizer(request.base_folder)
    adapts = method(recipe.method)
    template = adapts.prompt(request.template, parts.train, recipe)
    longest = min(recipe.max_length, facts.context)
    train, validation, held_out = (
        _rows(tokenizer, examples, template, longest, recipe.objective)
        for examples in (parts.train, parts.validation, parts.held_out)
    )
    too_long = [*train.too_long, *validation.too_long, *held_out.too_long]
    if not (train.tokens and validation.tokens and held_out.tokens):
        raise InvalidInput(
            f"{len(too_long)} of {len(data.examples)} rows are longer than {longest} tokens, and too few are left; "
            "raise max_length, or shorten them",
            param="max_length",
        )
    learned_from = [*train.tokens, *train.rejected]
    answer_tokens = min(LONGEST_ANSWER_TOKENS, max(row.supervised for row in train.tokens) + 4)
    bytes_per_weight, kind = _device()
    longest_row = max(len(row.input_ids) for row in learned_from)
    if adapts.fitter is not None and adapts.fitter.searches(recipe):
        longest_row = min(facts.context, max(longest_row, adapts.fitter.longest_prompt(recipe, longest_row)))
    asked = work(
        recipe, request.base_folder, longest=longest_row,
        supervised=max(row.supervised for row in learned_from), answer_tokens=answer_tokens,
        bytes_per_weight=bytes_per_weight, device=kind,
    )  # fmt: skip
    asked = dataclasses.replace(asked, processes=processes.count, sharding=processes.sharding)
    needed = check_fits(facts, asked, available=available, can_quantise=quantises())
    progress.event(
        "data", rows=len(data.examples), form=data.form, train=len(train.tokens), validation=len(validation.tokens),
        held_out=len(held_out.examples), too_long=len(too_long), too_long_lines=sorted(too_long)[:LINES_SHOWN],
        memory_gib=round(needed.gib, 2),
    )  # fmt: skip
    scored = sample(held_out.examples, recipe.scored_rows, recipe.seed)
    ground = Ground(recipe, request.base_folder, request.base, tokenizer, template, train.examples)
    # what trains is compared with the base under the same prompt; what only prompts, with the base left alone
    baseline = template if adapts.trains else None
    replay = _replay(folder, tokenizer, longest)
    return Material(data, facts, ground, baseline, train, validation, scored, len(held_out.examples), answer_tokens, replay)


def _replay(folder: Path, tokenizer: PreTrainedTokenizerBase, longest: int) -> list[Encoded]:
    """Rendered without the adapted model's prompt: they keep what the base does when nobody asks for the new task."""
    file = replay_file(folder)
    if file is None:
        return []
    data = open_dataset(file, shown_as=file.name)
    if data.form == TEXT:
        return encode_documents(tokenizer, data.examples, longest)
    return encode_all(tokenizer, data.examples, None, longest)[0]


def _rows(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    template: PromptTemplate | None,
    longest: int,
    objective: str,
) -> Rows:
    if objective == "lm":
        return Rows(list(examples), encode_documents(tokenizer, examples, longest), [], [])
    if objective == "dpo":
        pairs = [(example, *encode_pair(tokenizer, example, template)) for example in examples]
        kept = [row for row in pairs if max(len(row[1].input_ids), len(row[2].input_ids)) <= longest]
        lines = {row[0].line for row in kept}
        too_long = [example.line for example in examples if example.line not in lines]
        return Rows([row[0] for row in kept], [row[1] for row in kept], [row[2] for row in kept], too_long)
    tokens, too_long = encode_all(tokenizer, examples, template, longest)
    left_out = set(too_long)
    return Rows([example for example in examples if example.line not in left_out], tokens, [], too_long)


def _check_form(data: Dataset, request: RunRequest) -> None:
    """Raises InvalidInput where the data cannot teach what the recipe is to learn."""
    objective = request.recipe.objective
    wanted = {"lm": TEXT, "dpo": "preference"}.get(objective)
    if wanted is not None and data.form != wanted:
        raise InvalidInput(
            f"the objective {objective} learns from {wanted} rows, and {request.data_name} holds {data.form} rows",
            param="objective",
        )
    if wanted is None and data.form == TEXT:
        raise InvalidInput(
            f"{request.data_name} holds text that asks nothing, which {request.recipe.method} cannot learn answers from; "
            "take continued_pretraining",
            param="method",
        )


def _device() -> tuple[int, str]:
    """Bytes of a weight as the base is opened here, and `cuda` or `cpu`."""
    from adapters.tuning import device

    return device.dtype().itemsize, device.device().type
