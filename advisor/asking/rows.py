"""Which rows the base is asked, and which others it is shown before each: never the row itself nor one that asks the same.

The asked rows are drawn by seed and asked in one order, so every question is about the same rows, or the first of them.
Knows no model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from adapters.conversation import Example, wire
from adapters.errors import InvalidInput
from adapters.evaluation.metrics import METRICS, primary
from adapters.methods.in_context import worked
from adapters.prompting.pool import Count, Pool, estimated_tokens
from adapters.prompting.selectors.choosing import choose
from adapters.prompts import PromptTemplate, Selection, Shot, question_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIXED, NEAREST = "balanced", "knn"
"""Selectors: the same shots before every question, the answers in turn; and those whose questions mean most nearly the same."""
FIXED_SHOTS = 8
MOST_ASKED = 48
MOST_LABELS = 1000
MOST_SHOT_TOKENS = 1024
"""Of all shots before one question: longer ones are passed over, so that no single question takes all the time there is."""


@dataclass(frozen=True)
class Rows:
    """`examples` are those that were encoded, `vectors` (len(examples), width) their questions'."""

    examples: Sequence[Example]
    vectors: NDArray[np.float32]
    seed: int
    is_classification: bool = False
    barred: frozenset[int] = field(default_factory=frozenset)
    """Numbers of rows that may be neither asked nor shown."""
    count: Count = estimated_tokens
    shot_tokens: int = MOST_SHOT_TOKENS
    """That all shots before one question may have together."""

    @cached_property
    def order(self) -> list[int]:
        """The rows that can be asked, in the order in which they are; one of each question."""
        dice = random.Random(self.seed)  # noqa: S311  # a sample, no secret
        drawn = dice.sample(range(len(self.examples)), len(self.examples))
        once = {self.examples[number].prompt_key: number for number in reversed(drawn) if self._can_be_asked(number)}
        single = [number for number in drawn if once.get(self.examples[number].prompt_key) == number]
        # those that others are shown come last: asked themselves, they would be shown something else than the others
        fixed = {shot.user for shot in self._fixed(FIXED_SHOTS)}
        return sorted(single, key=lambda number: self.examples[number].question in fixed)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """All answers of a classification, else none."""
        answers = sorted({example.answer for example in self.examples if example.answer.strip()})
        return tuple(answers) if self.is_classification and len(answers) <= MOST_LABELS else ()

    @cached_property
    def metric(self) -> str:
        """Decided on all rows, so that a sample of them is not measured otherwise."""
        return primary([example.answer for example in self.examples])

    def rate(self, answer: str, wanted: str) -> float:
        return METRICS[self.metric](answer, wanted)

    def shots(self, number: int, strategy: str, k: int) -> tuple[Shot, ...]:
        """Before row `number`, by a selector: what suits it most stands nearest to it."""
        if not self._pool.rows:
            return ()
        question = question_of(wire(self.examples[number].prompt))
        selection = Selection(strategy, k, "", self.seed, self.shot_tokens)
        return tuple(choose(self._pool, selection, question, self.vectors[number]))

    def template(self, number: int, strategy: str, k: int) -> PromptTemplate:
        return PromptTemplate(shots=self.shots(number, strategy, k))

    def _fixed(self, k: int) -> list[Shot]:
        return choose(self._pool, Selection(FIXED, k, "", self.seed, self.shot_tokens), "") if self._pool.rows else []

    @property
    def most_shots(self) -> int:
        """That any question can be shown: one row of the pool may be its own."""
        return max(0, len(self._pool.rows) - 1)

    def _can_be_asked(self, number: int) -> bool:
        example = self.examples[number]
        return number not in self.barred and not example.is_document and bool(example.answer.strip())

    @cached_property
    def _pool(self) -> Pool:
        kept = [number for number in range(len(self.examples)) if self._can_be_asked(number) and self._is_worked(number)]
        shots = [Shot(self.examples[number].question, self.examples[number].answer) for number in kept]
        return Pool(shots, self.vectors[kept], count=self.count)

    def _is_worked(self, number: int) -> bool:
        try:
            worked([self.examples[number]])
        except InvalidInput:  # a longer conversation
            return False
        return True
