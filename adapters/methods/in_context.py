"""Methods that change no weights: the prompt as given, or with worked examples in it. Knows no tokenizer."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from adapters.conversation import Example
from adapters.errors import InvalidInput
from adapters.prompts import PromptTemplate, Shot
from adapters.tuning.recipe import Recipe


def as_given(template: PromptTemplate | None, train: Sequence[Example], recipe: Recipe) -> PromptTemplate | None:
    return template


def with_shots(template: PromptTemplate | None, train: Sequence[Example], recipe: Recipe) -> PromptTemplate:
    """The template with `recipe.shots` training rows as fixed shots after its own; seeded, the answers in turn.

    Rows with the same answer form a class, and classes give one row each in turn: with few classes every one is shown,
    with free text (every answer its own class) this is a plain random choice. Only rows of one question and one answer
    can be shots. Raises InvalidInput where there are none.
    """
    single = [example for example in train if [m.role for m in example.messages][-2:] == ["user", "assistant"]]
    single = [example for example in single if all(m.role in ("system", "developer") for m in example.messages[:-2])]
    if not single:
        raise InvalidInput("few_shot needs rows of one question and one answer; these are longer conversations", param="method")
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
    return PromptTemplate(given.system, given.shots + shots)
