"""Rows put to the base under a template, scored, and priced before they are asked. Knows no question by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from adapters.conversation import Example, WireMessage, wire
from adapters.data.batches import common_start
from adapters.evaluation.completer import FEWEST_SHARED_TOKENS, ROWS_AT_ONCE
from adapters.evaluation.loss import RowLoss
from adapters.evaluation.scorecard import mean_of, paired
from adapters.prompts import PromptTemplate, render
from advisor.asking.base import Base
from advisor.asking.rows import MOST_ASKED, Rows
from advisor.evidence import Evidence

LONGEST_ANSWER = 48
"""Tokens an answer may have; of longer ones the beginning is compared with as much of what was wanted."""

Templates = Sequence[PromptTemplate | None]


class Asker:
    def __init__(self, base: Base, rows: Rows) -> None:
        self.base, self.rows = base, rows
        self._sizes: dict[str, int] = {}

    @cached_property
    def most(self) -> int:
        """Tokens of the longest answer among the rows that can be asked, and one to stop with."""
        longest = max(
            self.base.sizes([self.rows.examples[number].answer for number in self.rows.order[:MOST_ASKED]]), default=1
        )
        return min(LONGEST_ANSWER, longest + 1)

    def wanted(self, number: int) -> str:
        """The right answer, as far as it could be given."""
        answer = self.rows.examples[number].answer
        ids = self.base.tokenizer(answer, add_special_tokens=False)["input_ids"]
        return answer if len(ids) < self.most else str(self.base.tokenizer.decode(ids[: self.most - 1]))

    def answers(self, examples: Sequence[Example], templates: Templates, choices: Sequence[str] = ()) -> list[str]:
        return self.base.answers(_said(examples, templates), most=self.most, choices=choices)

    def scores(
        self, numbers: Sequence[int], templates: Templates, choices: Sequence[str] = (), examples: Sequence[Example] = ()
    ) -> list[float]:
        """Of the rows by their numbers, 0 to 1; `examples` are the same rows as they are put, where not as they are."""
        put = examples or [self.rows.examples[number] for number in numbers]
        found = self.answers(put, templates, choices)
        return [self.rows.rate(answer, self.wanted(number)) for answer, number in zip(found, numbers, strict=True)]

    def losses(self, examples: Sequence[Example], templates: Templates) -> list[RowLoss]:
        return self.base.losses(examples, templates)

    def cost_of_answers(self, examples: Sequence[Example], templates: Templates, made: int | None = None) -> float:
        """In prompt tokens; what all prompts begin with is read once for so many."""
        prompts = [self.base.prompt(said) for said in _said(examples, templates)]
        shared = common_start(prompts)
        read = sum(map(len, prompts))
        if shared >= FEWEST_SHARED_TOKENS:
            read -= shared * (len(prompts) - -(-len(prompts) // ROWS_AT_ONCE))
        tokens = self.most if made is None else made
        return read + sum(self.base.cost_of_making(tokens, len(prompt)) for prompt in prompts)

    def cost_of_losses(self, examples: Sequence[Example], templates: Templates) -> float:
        said = _said(examples, templates)
        return sum(len(self.base.prompt(one)) for one in said) + sum(self.base.sizes([row.answer for row in examples]))

    def score(self, name: str, values: Sequence[float], how: str) -> Evidence:
        mean = mean_of(values, self.rows.seed)
        cut = "" if self.most < LONGEST_ANSWER else f", of the first {LONGEST_ANSWER} tokens"
        return Evidence(
            name, round(mean.mean, 4), "share", f"{self.rows.metric}{cut}: {how}", len(values), _rounded(mean.interval)
        )

    def difference(
        self, name: str, one: Sequence[float], other: Sequence[float], unit: str, how: str, scale: float = 1.0
    ) -> Evidence:
        """The mean of one less the other, of the same rows; the interval by paired bootstrap."""
        values = [(high - low) / scale for high, low in zip(one, other, strict=True)]
        mean = paired(values, [1] * len(values), self.rows.seed)
        return Evidence(name, round(mean.mean, 4), unit, how, len(values), _rounded(mean.interval))

    def nats(self, name: str, losses: Sequence[RowLoss], how: str) -> Evidence:
        return self._per_token(name, [loss.nats for loss in losses], losses, how)

    def gain(self, name: str, before: Sequence[RowLoss], after: Sequence[RowLoss], how: str) -> Evidence:
        values = [one.nats - other.nats for one, other in zip(before, after, strict=True)]
        return self._per_token(name, values, before, how)

    def _per_token(self, name: str, values: Sequence[float], losses: Sequence[RowLoss], how: str) -> Evidence:
        mean = paired(values, [loss.tokens for loss in losses], self.rows.seed)
        return Evidence(name, round(mean.mean, 4), "nats per token", how, len(values), _rounded(mean.interval))


def _said(examples: Sequence[Example], templates: Templates) -> list[list[WireMessage]]:
    return [render(template, wire(example.prompt)) for example, template in zip(examples, templates, strict=True)]


def _rounded(interval: tuple[float, float]) -> tuple[float, float]:
    return round(interval[0], 4), round(interval[1], 4)
