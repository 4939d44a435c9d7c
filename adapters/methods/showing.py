"""Training rows as shots: the pool they lie in, how long they are, and what a template shows of them for a row.

Knows no candidate and no score.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from adapters.conversation import Example, wire
from adapters.data.tokens import prompt_ids
from adapters.methods.contract import Asked, Choosing
from adapters.methods.in_context import worked
from adapters.prompting.pool import Pool, Vectors, open_pool, pool_digest, write_pool
from adapters.prompting.selectors.choosing import choose, find_selector
from adapters.prompts import PromptTemplate, Selection, Shot, question_of
from adapters.retrieval import encoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

POOL = "pool"
FRAME_SLACK_TOKENS = 2
"""A text beside others may be cut into that many tokens more than alone."""

Encode = Callable[[Sequence[str]], Vectors]


class Showing:
    """`longest_system`: the longest system text that will stand before the shots."""

    def __init__(self, choosing: Choosing, longest_system: str | None) -> None:
        self._choosing, self._tokenizer = choosing, choosing.ground.tokenizer
        rows = sorted(worked(choosing.ground.examples), key=lambda row: (row.line, row.question, row.answer))
        self.shots = tuple(Shot(row.question, row.answer) for row in rows)
        self.given = choosing.ground.template or PromptTemplate()
        self.folder = choosing.progress.folder / POOL
        self._system = longest_system
        self._digest = pool_digest(self.shots)
        self._encoded: dict[str, Vectors] = {}
        self._pool: Pool | None = None

    def template(self, selector: str, k: int, system: str | None) -> PromptTemplate | None:
        """With k shots by this selector: fixed ones where no question changes them, chosen anew for every question else.
        None where so many do not fit, or are not there."""
        bare = dataclasses.replace(self.given, system=system)
        if k == 0:
            return bare
        if k > len(self.shots) or not self._room:
            return None
        if not find_selector(selector).by_question:
            shots = self.fixed(selector, k)
            return dataclasses.replace(bare, shots=self.given.shots + shots) if len(shots) == k else None
        if self._smallest(k) > self._room:
            return None
        return dataclasses.replace(bare, select=self._selection(selector, k))

    def fixed(self, selector: str, k: int) -> tuple[Shot, ...]:
        """The same for every question: at most k, and no more than fit."""
        pool = self.pool(selector)
        chosen = choose(pool, Selection(selector, k, self._digest, self._choosing.ground.recipe.seed), "")
        lengths = dict(zip(self.shots, self._lengths, strict=True))
        kept, total = list[Shot](), 0
        for shot in chosen:
            total += lengths[shot]
            if total > self._room:
                break
            kept.append(shot)
        return tuple(kept)

    def most(self) -> int:
        """How many shots the prompt could hold if it held the shortest."""
        total, most = 0, 0
        for most, length in enumerate(sorted(self._lengths)):
            total += length
            if total > self._room:
                return most
        return most + 1

    def pool(self, selector: str) -> Pool:
        """Encoded where the selector needs that."""
        needed = find_selector(selector).needs_vectors
        if self._pool is None or (needed and self._pool.vectors is None):
            if needed:
                write_pool(
                    self.folder, self.shots, self._choosing.encode, encoder=encoder.identity(self._choosing.encoder_folder)
                )
            else:
                write_pool(self.folder, self.shots)
            self._pool = open_pool(self.folder)
        return self._pool

    def asked(self, template: PromptTemplate, examples: Sequence[Example]) -> list[Asked]:
        """The rows with what the template shows for each."""
        if template.select is None:
            return [Asked(example, template) for example in examples]
        questions = [question_of(wire(example.prompt)) for example in examples]
        selector = find_selector(template.select.strategy)
        new = [question for question in dict.fromkeys(questions) if question not in self._encoded]
        if selector.needs_vectors and new:
            self._encoded |= dict(zip(new, self._choosing.encode(new), strict=True))
        pool = self.pool(template.select.strategy)
        return [
            Asked(example, shown(template, choose(pool, template.select, question, self._encoded.get(question))))
            for example, question in zip(examples, questions, strict=True)
        ]

    def _selection(self, selector: str, k: int) -> Selection:
        """With a budget where the longest shots would not fit. A pool only estimates tokens, so its budget is what keeps to
        the room for every row of it."""
        most_tokens = None
        if sum(sorted(self._lengths)[-k:]) > self._room:
            estimates = self.pool(selector).tokens.tolist()
            scale = max(length / estimate for length, estimate in zip(self._lengths, estimates, strict=True))
            most_tokens = int(self._room / scale)
        return Selection(selector, k, self._digest, self._choosing.ground.recipe.seed, most_tokens)

    def _smallest(self, k: int) -> int:
        return sum(sorted(self._lengths)[:k])

    @cached_property
    def _lengths(self) -> list[int]:
        """Tokens of each shot in a prompt, or a few more."""
        template, frame = self.given, _frame(self._tokenizer, self.given)
        texts = [f"{template.before}{shot.user}{template.after}" for shot in self.shots]
        both = (_counted(self._tokenizer, side) for side in (texts, [shot.assistant for shot in self.shots]))
        return [frame + question + answer for question, answer in zip(*both, strict=True)]

    @cached_property
    def _room(self) -> int:
        """Tokens that shots may have, beside the longest question."""
        template = dataclasses.replace(self.given, system=self._system)
        rows = (*self._choosing.ground.examples, *self._choosing.validation)
        longest = max(len(prompt_ids(self._tokenizer, wire(row.prompt), template)) for row in rows)
        return max(0, self._choosing.prompt_tokens - longest)


def shown(template: PromptTemplate, chosen: Sequence[Shot]) -> PromptTemplate:
    """The template for one row, with the shots chosen for it in place."""
    return dataclasses.replace(template, shots=(*template.shots, *chosen), select=None)


def _frame(tokenizer: PreTrainedTokenizerBase, template: PromptTemplate) -> int:
    """Tokens that the base's chat template puts around a shot."""
    word = "x"
    question = [{"role": "user", "content": word}]
    bare = dataclasses.replace(template, shots=(), select=None)
    one = dataclasses.replace(bare, shots=(Shot(word, word),))
    without, with_one = (len(prompt_ids(tokenizer, question, around)) for around in (bare, one))
    said = sum(_counted(tokenizer, [f"{template.before}{word}{template.after}", word]))
    return max(0, with_one - without - said) + FRAME_SLACK_TOKENS


def _counted(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[int]:
    return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
