"""What is asked of the base without documents: as it is, with its answers constrained, and with shots before the question.

Each question knows what it costs. Knows neither the budget nor what follows from the answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

from adapters.conversation import Example
from adapters.evaluation.loss import RowLoss
from adapters.prompts import PromptTemplate, Shot
from advisor.asking.asker import Asker
from advisor.asking.plan import Question
from advisor.asking.rows import FIXED, FIXED_SHOTS, NEAREST
from advisor.evidence import Evidence

SHOTS, SOME_SHOTS, FORM_SHOTS = FIXED_SHOTS, 2, 3
FEWEST_SHOTS = 2
NOTHING = PromptTemplate()


class Prompting:
    """The questions of one advice; answers that one has are another's to use."""

    def __init__(self, asker: Asker) -> None:
        self.asker, self.rows = asker, asker.rows
        self._scores: dict[str, list[float]] = {}

    def numbers(self, count: int) -> list[int]:
        return self.rows.order[:count]

    def examples(self, count: int) -> list[Example]:
        return [self.rows.examples[number] for number in self.numbers(count)]

    @cached_property
    def k(self) -> int:
        """As many shots as wanted, or as many as there are."""
        return min(SHOTS, self.rows.most_shots)

    def fixed(self, k: int) -> Callable[[int], list[PromptTemplate]]:
        return lambda count: [self.rows.template(number, FIXED, k) for number in self.numbers(count)]

    def nearest(self, count: int) -> list[PromptTemplate]:
        return [self.rows.template(number, NEAREST, self.k) for number in self.numbers(count)]

    def exchanged(self, count: int) -> list[PromptTemplate]:
        """Shots whose answers belong to the next: they show the form of an answer and nothing of what is right."""
        made = []
        for number in self.numbers(count):
            shots = self.rows.shots(number, FIXED, FORM_SHOTS)
            answers = [*(shot.assistant for shot in shots[1:]), *(shot.assistant for shot in shots[:1])]
            made.append(PromptTemplate(shots=tuple(Shot(shot.user, a) for shot, a in zip(shots, answers, strict=True))))
        return made

    def none(self, count: int) -> list[PromptTemplate]:
        return [NOTHING] * count

    # -- questions

    def zero_shot(self) -> Question:
        def ask(count: int) -> list[Evidence]:
            values = self._asked("zero", count, self.none)
            return [self.asker.score("zero_shot_score", values, f"{count} rows, nothing but the question")]

        return self._scored(("zero_shot_score",), ask, self.none)

    def choices(self) -> Question:
        labels = self.rows.labels

        def ask(count: int) -> list[Evidence]:
            values = self._asked("choices", count, self.none, labels)
            how = f"{count} rows, nothing but the question, and no answer but one of {len(labels)} labels"
            return [self.asker.score("zero_shot_choices_score", values, how)]

        made = max(self.asker.base.sizes(labels)) + 1
        return Question(
            ("zero_shot_choices_score",), ("share",),
            lambda count: self.asker.cost_of_answers(self.examples(count), self.none(count), made), ask,
        )  # fmt: skip

    def few_shot(self) -> Question:
        def ask(count: int) -> list[Evidence]:
            values, none = self._asked("few", count, self.fixed(self.k)), self._asked("zero", count, self.none)
            return [
                self.asker.score("few_shot_score", values, f"{count} rows, the same {self.k} shots before each"),
                self.asker.difference(
                    "few_shot_slope", values, none, "share",
                    f"score gained each time that shots and question double in number, from 0 to {self.k} shots: least squares "
                    "on log2(1 + k), where a point halfway weighs nothing",
                    math.log2(1 + self.k),
                ),
            ]  # fmt: skip

        return self._scored(("few_shot_score", "few_shot_slope"), ask, self.fixed(self.k))

    def some_shots(self) -> Question:
        def ask(count: int) -> list[Evidence]:
            values = self._asked("some", count, self.fixed(SOME_SHOTS))
            return [self.asker.score("few_shot_2_score", values, f"{count} rows, the same {SOME_SHOTS} shots before each")]

        return self._scored(("few_shot_2_score",), ask, self.fixed(SOME_SHOTS))

    def nearest_shots(self) -> Question:
        def ask(count: int) -> list[Evidence]:
            values = self._asked("nearest", count, self.nearest)
            how = f"{count} rows, before each the {self.k} rows whose questions mean most nearly the same"
            return [self.asker.score("knn_shot_score", values, how)]

        return self._scored(("knn_shot_score",), ask, self.nearest)

    def form(self) -> Question:
        """With labels the answers that are constrained to them are free of form, so nothing else is asked."""
        labels = self.rows.labels

        def ask(count: int) -> list[Evidence]:
            none = self._asked("zero", count, self.none)
            shown = self._asked("form", count, self.exchanged)
            bound = self._asked("choices", count, self.none, labels) if labels else shown
            best = shown if sum(shown) > sum(bound) else bound
            what = (
                "answers bound to the labels" if best is bound and labels else f"{FORM_SHOTS} shots with each other's answers"
            )
            how = f"{self.rows.metric} with {what}, which teach the form alone, less that of the bare question"
            return [self.asker.difference("format_gap", best, none, "share", how)]

        return self._scored(("format_gap",), ask, self.exchanged)

    def surprised(self, name: str, templates: Callable[[int], list[PromptTemplate]], how: str) -> Question:
        def ask(count: int) -> list[Evidence]:
            losses: list[RowLoss] = self.asker.losses(self.examples(count), templates(count))
            return [self.asker.nats(name, losses, f"loss of the right answers, {count} rows, {how}")]

        return Question(
            (name,), ("nats per token",), lambda count: self.asker.cost_of_losses(self.examples(count), templates(count)), ask
        )

    def _asked(
        self, key: str, count: int, templates: Callable[[int], list[PromptTemplate]], choices: Sequence[str] = ()
    ) -> list[float]:
        if len(self._scores.get(key, ())) < count:
            self._scores[key] = self.asker.scores(self.numbers(count), templates(count), choices)
        return self._scores[key][:count]

    def _scored(
        self, names: tuple[str, ...], ask: Callable[[int], list[Evidence]], templates: Callable[[int], list[PromptTemplate]]
    ) -> Question:
        def cost(count: int) -> float:
            return self.asker.cost_of_answers(self.examples(count), templates(count))

        return Question(names, ("share",) * len(names), cost, ask)
