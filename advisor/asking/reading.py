"""What is asked of the base with documents: without any, with a passage that answers, with what is found, with any other.

Of the asked rows that a passage answers. The distances tell missing facts from a search that misses them and from a base
that does not use what it reads; a random passage is the control. Knows no budget.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from functools import cached_property

from adapters.conversation import Example, wire
from adapters.evaluation.loss import RowLoss
from adapters.retrieval.gold import holds
from adapters.retrieval.shown import Shown, with_passages
from advisor.asking.asker import Asker
from advisor.asking.plan import Question
from advisor.asking.prompting import NOTHING
from advisor.evidence import Evidence, share
from advisor.knowledge import NEAREST, Library, asked

FEWEST_TOLD = 6
LOOKED_AT = 200
"""Rows among which those are looked for that a passage answers."""

Shelves = Callable[[int], list[int]]
"""From a row's number to passages to show before it."""


class Reading:
    def __init__(self, asker: Asker, books: Library) -> None:
        self.asker, self.rows, self.books = asker, asker.rows, books
        self._dice = random.Random(self.rows.seed)  # noqa: S311  # a control, no secret
        self._random: dict[int, list[int]] = {}
        self._answers: dict[str, list[str]] = {}
        self._losses: dict[str, list[RowLoss]] = {}

    @cached_property
    def gold(self) -> dict[int, list[int]]:
        """By row that a passage answers, those that do."""
        found = {n: self.books.gold(self.rows.examples[n], self.rows.vectors[n]) for n in self._looked_at}
        return {number: passages for number, passages in found.items() if passages}

    @property
    def _looked_at(self) -> list[int]:
        return self.rows.order[: min(LOOKED_AT, self.books.covered)]

    def told(self, count: int) -> list[int]:
        return list(self.gold)[:count]

    def oracle(self, number: int) -> list[int]:
        return self.gold[number][:1]

    def found(self, number: int) -> list[int]:
        return self.books.found(asked(self.rows.examples[number]), self.rows.vectors[number], NEAREST)

    def drawn(self, number: int) -> list[int]:
        if number not in self._random:
            self._random[number] = self.books.drawn(1, self._dice, self.gold[number])
        return self._random[number]

    def without(self, number: int) -> list[int]:
        return []

    def shown(self, number: int, passages: Sequence[int]) -> Example:
        """The row with passages before its question, as a gateway puts them; without any, as it is."""
        example = self.rows.examples[number]
        if not passages:
            return example
        found = [Shown(self.books.passages[one].text, self.books.passages[one].heading, "") for one in passages]
        said = with_passages(wire(example.prompt), found)
        messages = [
            message if put["content"] == message.content else dataclasses.replace(message, content=put["content"])
            for message, put in zip(example.prompt, said, strict=True)
        ]
        return dataclasses.replace(example, messages=(*messages, example.messages[-1]))

    # -- questions

    def is_possible(self) -> bool:
        return len(self.gold) >= FEWEST_TOLD

    def missing(self) -> list[Evidence]:
        """What cannot be asked, where the documents answer next to no row."""
        reason = f"the documents answer {len(self.gold)} of {len(self._looked_at)} rows, too few to ask about"
        return [Evidence(name, None, unit, f"not asked: {reason}") for name, unit in NAMES.items()]

    def with_oracle(self) -> Question:
        def ask(count: int) -> list[Evidence]:
            told = self.told(count)
            closed, opened = (self._answered(name, told, shelves) for name, shelves in
                              (("closed", self.without), ("oracle", self.oracle)))  # fmt: skip
            unknown = sum(
                not self._knows(number, before) and self._knows(number, after)
                for number, before, after in zip(told, closed, opened, strict=True)
            )
            return [
                self._score("closed_book_score", told, closed, "without any passage"),
                self._score("oracle_score", told, opened, "with the passage that answers them"),
                share(
                    "unknown_share", unknown, len(told),
                    f"of {len(told)} rows that a passage answers, those that the base answers with it and not without: the "
                    "right answer stands in what it says",
                ),
            ]  # fmt: skip

        def cost(count: int) -> float:
            first = set(self.rows.order[:count])  # they are asked without a passage anyway
            others = [number for number in self.told(count) if number not in first]
            return self._price(others, self.without) + self._price(self.told(count), self.oracle)

        names = ("closed_book_score", "oracle_score", "unknown_share")
        return Question(names, ("share",) * 3, cost, ask)

    def with_found(self) -> Question:
        how = f"with the {NEAREST} passages found first for each"
        return self._scored("retrieved_score", "found", self.found, how)

    def with_random(self) -> Question:
        return self._scored("random_passage_score", "random", self.drawn, "with a random passage that does not answer")

    def gains(self) -> Question:
        def ask(count: int) -> list[Evidence]:
            return [self._gain("gain_nats_oracle", "oracle", self.oracle, count, "the passage that answers"),
                    self._gain("gain_nats_random", "random", self.drawn, count, "a random passage")]  # fmt: skip

        def cost(count: int) -> float:
            return sum(self._cost_of_losses(count, shelves) for shelves in (self.without, self.oracle, self.drawn))

        return Question(("gain_nats_oracle", "gain_nats_random"), ("nats per token",) * 2, cost, ask)

    def gain_of_found(self) -> Question:
        def ask(count: int) -> list[Evidence]:
            return [self._gain("gain_nats_retrieved", "found", self.found, count, f"the {NEAREST} passages found first")]

        names = ("gain_nats_retrieved",)
        return Question(names, ("nats per token",), lambda count: self._cost_of_losses(count, self.found), ask)

    def _scored(self, name: str, arm: str, shelves: Shelves, how: str) -> Question:
        def ask(count: int) -> list[Evidence]:
            told = self.told(count)
            return [self._score(name, told, self._answered(arm, told, shelves), how)]

        return Question((name,), ("share",), lambda count: self._cost(count, shelves), ask)

    def _score(self, name: str, told: Sequence[int], answers: Sequence[str], how: str) -> Evidence:
        values = [self.rows.rate(answer, self.asker.wanted(number)) for number, answer in zip(told, answers, strict=True)]
        return self.asker.score(name, values, f"{len(told)} rows that a passage answers, {how}")

    def _gain(self, name: str, arm: str, shelves: Shelves, count: int, what: str) -> Evidence:
        told = self.told(count)
        before, after = self._lost("closed", told, self.without), self._lost(arm, told, shelves)
        how = f"by how much {what} lowers the loss of the right answers, {len(told)} rows; below 0 it raises it"
        return self.asker.gain(name, before, after, how)

    def _knows(self, number: int, answer: str) -> bool:
        wanted = self.asker.wanted(number)
        return self.rows.rate(answer, wanted) == 1.0 or holds(answer, wanted)

    def _answered(self, arm: str, told: Sequence[int], shelves: Shelves) -> list[str]:
        if len(self._answers.get(arm, ())) < len(told):
            self._answers[arm] = self.asker.answers([self.shown(n, shelves(n)) for n in told], [NOTHING] * len(told))
        return self._answers[arm][: len(told)]

    def _lost(self, arm: str, told: Sequence[int], shelves: Shelves) -> list[RowLoss]:
        if len(self._losses.get(arm, ())) < len(told):
            self._losses[arm] = self.asker.losses([self.shown(n, shelves(n)) for n in told], [NOTHING] * len(told))
        return self._losses[arm][: len(told)]

    def _cost(self, count: int, shelves: Shelves) -> float:
        return self._price(self.told(count), shelves)

    def _price(self, told: Sequence[int], shelves: Shelves) -> float:
        return self.asker.cost_of_answers([self.shown(number, shelves(number)) for number in told], [NOTHING] * len(told))

    def _cost_of_losses(self, count: int, shelves: Shelves) -> float:
        told = self.told(count)
        return self.asker.cost_of_losses([self.shown(number, shelves(number)) for number in told], [NOTHING] * len(told))


NAMES = {
    "closed_book_score": "share", "oracle_score": "share", "retrieved_score": "share", "random_passage_score": "share",
    "gain_nats_oracle": "nats per token", "gain_nats_retrieved": "nats per token", "gain_nats_random": "nats per token",
    "unknown_share": "share",
}  # fmt: skip
