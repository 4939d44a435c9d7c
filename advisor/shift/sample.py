"""Texts made comparable: a seeded handful of rows without their shared instruction, as vectors and vocabulary pieces.

Whole against whole, for how far they are from each other; or in pairs of the same length (`matched`), for detectors that
would otherwise tell long texts from short ones.

The reference is about 200 everyday requests and sentences, `reference.txt` beside this file, written for this purpose;
it stands for what a general base has seen plenty of. Knows no detector.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adapters.conversation import Example
from adapters.retrieval.encoder import Encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_ROWS = 200
"""Enough for an interval of a few hundredths; encoding them takes about 3 s on two cores."""

MOST_CHARACTERS, MOST_PAIRS = 160, 64
"""Of matched texts: what the reference can give without repeating itself."""

REFERENCE = Path(__file__).with_name("reference.txt")


@dataclass(frozen=True, slots=True)
class Sample:
    """`vectors` (n, width) of what is asked, length 1 each; `characters` and `pieces` (n,) of question and answer."""

    vectors: NDArray[np.float32]
    characters: NDArray[np.float64]
    pieces: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: NDArray[np.int64]) -> Sample:
        return Sample(self.vectors[rows], self.characters[rows], self.pieces[rows])


def of_examples(examples: Sequence[Example], encoder: Encoder, *, seed: int) -> Sample:
    chosen = random.Random(seed).sample(list(examples), min(MOST_ROWS, len(examples)))  # noqa: S311  # a sample, no secret
    asked = without_frame([what_is_asked(example) for example in chosen])
    both = [f"{question} {example.answer}" for question, example in zip(asked, chosen, strict=True)]
    return _sample(asked, both, encoder)


def reference(encoder: Encoder) -> Sample:
    return _sample(everyday(), everyday(), encoder)


def what_is_asked(example: Example) -> str:
    """The last question; of plain text, the text."""
    return example.answer if example.is_document else example.question


def everyday() -> list[str]:
    return [line for line in REFERENCE.read_text(encoding="utf-8").splitlines() if line.strip()]


def matched(examples: Sequence[Example], encoder: Encoder, *, seed: int) -> tuple[Sample, Sample]:
    """What is asked and everyday text, one of each length."""
    chosen = random.Random(seed).sample(list(examples), min(MOST_ROWS, len(examples)))  # noqa: S311  # a sample, no secret
    ours, theirs = pairs(without_frame([what_is_asked(example) for example in chosen]), everyday(), seed)
    return _sample(ours, ours, encoder), _sample(theirs, theirs, encoder)


def pairs(texts: Sequence[str], lines: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """Beginnings of our texts, of at most MOST_CHARACTERS, and for each a run of lines cut to as many characters.

    At most MOST_PAIRS, and no more than can be had without using a line twice; lines are taken from all over their text.
    """
    order = random.Random(seed).sample(range(len(texts)), len(texts))  # noqa: S311  # an order, no secret
    ours = [short for number in order if (short := cut(texts[number].strip(), MOST_CHARACTERS))]
    room = sum(map(len, lines)) // max(1, max(map(len, ours), default=1))
    count = max(1, min(MOST_PAIRS, room, len(ours), len(lines)))
    theirs, line = list[str](), 0
    for number, text in enumerate(ours[:count]):
        line = max(line, number * len(lines) // count)
        run = ""
        while line < len(lines) and len(run) < len(text):
            run = f"{run} {lines[line]}".strip()
            line += 1
        if len(run) < len(text):
            break
        theirs.append(cut(run, len(text)))
    return ours[: len(theirs)], theirs


def cut(text: str, size: int) -> str:
    """At most so many characters, whole words where the text has words of ordinary length."""
    if len(text) <= size:
        return text
    at = text.rfind(" ", size // 2, size + 1)
    return text[: at if at > 0 else size]


def without_frame(texts: Sequence[str]) -> list[str]:
    """The texts less the words that all begin or end with: an instruction repeated in every row says nothing of its domain.

    Nothing is taken where a text would be left empty, or where there is but one text.
    """
    words = [text.split() for text in texts]
    if len(words) < 2:
        return list(texts)
    shortest = min(map(len, words))
    front = _shared(words, shortest)
    back = _shared([row[::-1] for row in words], shortest - front)
    if front + back >= shortest:
        return list(texts)
    return [" ".join(row[front : len(row) - back]) for row in words]


def _shared(rows: Sequence[Sequence[str]], most: int) -> int:
    count = 0
    while count < most and len({row[count] for row in rows}) == 1:
        count += 1
    return count


def _sample(vectored: Sequence[str], counted: Sequence[str], encoder: Encoder) -> Sample:
    characters = np.array([len(text) for text in counted], dtype=np.float64)
    pieces = np.array([max(1, count) for count in encoder.pieces(counted)], dtype=np.float64)
    return Sample(encoder.encode(vectored), characters, pieces)
