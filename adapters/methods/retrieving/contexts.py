"""Rows with passages before their questions: as a gateway will put them, or as they are learned from.

What is learned from holds distractors, and in some rows nothing that answers: a model that was only ever shown the right
passage believes every passage (RAFT, Zhang et al., 2024, arXiv 2403.10131). Knows no model and no way of choosing.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapters.adapted_model import RetrievalSpec
from adapters.conversation import Example, wire
from adapters.methods.retrieving.cuts import Cut, Documents, Key
from adapters.prompts import question_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from adapters.retrieval.found import Found

FURTHER = 4
"""Times the passages shown: how far down the ranking distractors are looked for."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The documents as one cut, and what the questions are as vectors."""

    cut: Cut
    documents: Documents
    vectors: Callable[[Sequence[str]], NDArray[np.float32]]
    barred: frozenset[Key]
    """Passages that are never shown to a base: its tokenizer reads some of their text as structure."""

    def found(self, examples: Sequence[Example], spec: RetrievalSpec, limit: int) -> list[list[Found]]:
        """For each example the first passages, best first, whatever their score."""
        texts = [question_of(wire(example.prompt)) for example in examples]
        room = limit + min(len(self.barred), limit)
        lists = [
            self.cut.search(text, vector, spec.lexical_weight, room)
            for text, vector in zip(texts, self.vectors(texts), strict=True)
        ]
        return [[one for one in found if (one.file, one.number) not in self.barred][:limit] for found in lists]

    def gold(self, examples: Sequence[Example]) -> list[list[Key]]:
        """For each example the passages that answer it, the surest first."""
        texts = [question_of(wire(example.prompt)) for example in examples]
        return [
            [key for key in self.cut.gold(text, example.answer, vector) if key not in self.barred]
            for text, example, vector in zip(texts, examples, self.vectors(texts), strict=True)
        ]

    def shown(self, example: Example, keys: Sequence[Key]) -> Example:
        """The row with these passages before its question, in their order, by the function that the gateway uses."""
        from adapters.retrieval.shown import Shown, with_passages

        pieces = [self.cut.pieces[self.cut.numbers[key]] for key in keys]
        passages = [Shown(text=piece.text, heading=piece.heading, source=self.documents.name(piece.key[0])) for piece in pieces]
        said = with_passages(wire(example.prompt), passages)
        messages = [
            message if put["content"] == message.content else dataclasses.replace(message, content=put["content"])
            for message, put in zip(example.prompt, said, strict=True)
        ]
        return dataclasses.replace(example, messages=(*messages, example.messages[-1]))


def served(shelf: Shelf, examples: Sequence[Example], spec: RetrievalSpec) -> list[list[Key]]:
    """What a gateway would show before each, best first."""
    return [_allowed(found, spec) for found in shelf.found(examples, spec, spec.passages)]


def as_served(shelf: Shelf, examples: Sequence[Example], spec: RetrievalSpec) -> list[Example]:
    """With what is really found for each, as far as its score allows."""
    return [shelf.shown(example, keys) for example, keys in zip(examples, served(shelf, examples, spec), strict=True)]


def as_learned(
    shelf: Shelf, examples: Sequence[Example], spec: RetrievalSpec, *, without_gold_share: float, seed: int
) -> list[Example]:  # fmt: skip
    """With a passage that answers and distractors, as many as would be found, in an order that says nothing; in a share of
    the rows with distractors alone. A row that no passage answers gets what is found for it."""
    ranked = shelf.found(examples, spec, FURTHER * spec.passages)
    made = []
    for example, found, gold in zip(examples, ranked, shelf.gold(examples), strict=True):
        dice = random.Random(f"{seed}:{example.prompt_key}:{example.line}")  # noqa: S311 - an order, not a secret
        keys = [(one.file, one.number) for one in found]
        put = _allowed(found[: spec.passages], spec)
        if gold:
            holding = set(_holding(shelf.cut, example.answer))
            distractors = [key for key in keys if key not in holding]
            size = max(1, len(put))
            without = dice.random() < without_gold_share
            put = distractors[:size] if without else [gold[0], *distractors[: size - 1]]
        dice.shuffle(put)
        made.append(shelf.shown(example, put))
    return made


def _allowed(found: Sequence[Found], spec: RetrievalSpec) -> list[Key]:
    return [(one.file, one.number) for one in found if one.score >= spec.min_score]


def _holding(cut: Cut, answer: str) -> list[Key]:
    """All that hold the answer, by chance too: none of them is a distractor."""
    return [cut.pieces[number].key for number in cut.texts.holding(answer)]
