"""Methods that change no weights: the prompt as given, or with worked examples in it. Knows no tokenizer."""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from collections.abc import Sequence

from adapters.conversation import Example
from adapters.errors import InvalidInput
from adapters.prompts import PromptTemplate, Shot
from adapters.tuning.recipe import FITTED, Recipe

NUMBERS = (2, 4, 8, 16)
"""Of shots that are tried where a recipe names none."""


def as_given(template: PromptTemplate | None, train: Sequence[Example], recipe: Recipe) -> PromptTemplate | None:
    return template


def with_shots(template: PromptTemplate | None, train: Sequence[Example], recipe: Recipe) -> PromptTemplate | None:
    """The template with `recipe.shots` training rows as fixed shots after its own; seeded, the answers in turn. As given
    where the recipe leaves something to choose.

    Rows with the same answer form a class, and classes give one row each in turn: with few classes every one is shown,
    with free text (every answer its own class) this is a plain random choice. Only rows of one question and one answer
    can be shots. Raises InvalidInput where there are none.
    """
    single = worked(train)
    if is_open(recipe):
        return template
    shuffle = random.Random(recipe.seed)  # noqa: S311 - a choice, not a secret
    shuffled = sorted(single, key=lambda example: (example.prompt_key, example.answer))
    shuffle.shuffle(shuffled)
    classes: dict[str, list[Example]] = defaultdict(list)
    for example in shuffled:
        classes[example.answer].append(example)
    rounds = [(turn, example) for rows in classes.values() for turn, example in enumerate(rows)]
    chosen = [example for _, example in sorted(rounds, key=lambda item: item[0])][: recipe.shots]
    shots = tuple(Shot(example.question, example.answer) for example in chosen)
    given = template or PromptTemplate()
    return dataclasses.replace(given, shots=given.shots + shots)


def with_chosen(template: PromptTemplate | None, train: Sequence[Example], recipe: Recipe) -> PromptTemplate | None:
    """As given: which shots come into it is chosen later. Raises InvalidInput where there are none to choose from."""
    worked(train)
    return template


def is_open(recipe: Recipe) -> bool:
    """Whether few_shot chooses anything: a number alone means so many in turn, as they come."""
    return not recipe.shots or recipe.selector != FITTED


def worked(train: Sequence[Example]) -> list[Example]:
    """The rows that can be shots: one question, one answer, perhaps system text before. Raises InvalidInput for none."""
    single = [example for example in train if [m.role for m in example.messages][-2:] == ["user", "assistant"]]
    single = [example for example in single if all(m.role in ("system", "developer") for m in example.messages[:-2])]
    if not single:
        raise InvalidInput("shots are rows of one question and one answer; these are longer conversations", param="method")
    return single
