"""How surprised the base is by the texts, against everyday text of the same length: bits a byte, and tokens a byte.

    bits_per_byte = sum of nats / ln 2 / bytes, every token but a text's first foretold from those before it

Comparable between bases, which nats a token are not. Low may also mean repetition, and plain text is not what a chat model
was tuned on; so it is never a number alone: the everyday texts stand beside it, and their halves are the null. Knows no
model: it is given losses.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from adapters.conversation import Example
from adapters.evaluation.loss import RowLoss, bits_per_byte
from advisor.evidence import Evidence
from advisor.shift.sample import everyday, pairs, without_frame

MOST_ROWS = 200
DRAWS, SPLITS = 1000, 200

NAMES = ("bits_per_byte", "bits_per_byte_reference", "bits_per_byte_null", "tokens_per_byte", "tokens_per_byte_reference")
UNITS = ("bits", "bits", "bits", "tokens", "tokens")

Losses = Callable[[Sequence[str]], list[RowLoss]]
"""Of whole texts, in their order; one that has fewer than two tokens has no bytes."""


def texts(examples: Sequence[Example], *, seed: int) -> tuple[list[str], list[str]]:
    """Our questions with their answers as plain text, without what all questions share, and everyday text, in pairs."""
    chosen = random.Random(seed).sample(list(examples), min(MOST_ROWS, len(examples)))  # noqa: S311  # a sample, no secret
    asked = without_frame(["" if example.is_document else example.question for example in chosen])
    both = [f"{question}\n{example.answer}".strip() for question, example in zip(asked, chosen, strict=True)]
    return pairs(both, everyday(), seed)


def surprise(ours: Sequence[str], theirs: Sequence[str], losses: Losses, *, seed: int) -> list[Evidence]:
    said, usual = losses(ours), losses(theirs)
    rng = np.random.default_rng(seed)
    n = len(ours)
    length = f"{n} texts of the rows, {n} everyday texts of the same lengths"
    whole = round(bits_per_byte(usual), 4)
    return [
        Evidence(
            "bits_per_byte", round(bits_per_byte(said), 4), "bits", f"loss of the base on questions and answers: {length}", n,
            _interval(_bits(said), rng),
        ),
        Evidence(
            "bits_per_byte_reference", whole, "bits", f"the same on the everyday texts: {length}", n,
            _interval(_bits(usual), rng),
        ),
        Evidence(
            "bits_per_byte_null", 0.0, "bits", f"difference between random halves of the everyday texts, {SPLITS} splits", n,
            _halves(_bits(usual), rng),
        ),
        *_fertility(said, usual, length, rng),
    ]  # fmt: skip


def _fertility(said: Sequence[RowLoss], usual: Sequence[RowLoss], length: str, rng: np.random.Generator) -> list[Evidence]:
    made = []
    for name, losses in (("tokens_per_byte", said), ("tokens_per_byte_reference", usual)):
        parts = np.array([(loss.tokens, loss.answer_bytes) for loss in losses], dtype=np.float64)
        value = float(parts[:, 0].sum() / parts[:, 1].sum())
        how = f"tokens of the base for each byte of text (fertility): {length}"
        made.append(Evidence(name, round(value, 4), "tokens", how, len(losses), _interval(parts, rng)))
    return made


def _bits(losses: Sequence[RowLoss]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(texts, 2): bits and bytes of each."""
    return np.array([(loss.nats / np.log(2), loss.answer_bytes) for loss in losses], dtype=np.float64)


def _interval(parts: np.ndarray[tuple[int, int], np.dtype[np.float64]], rng: np.random.Generator) -> tuple[float, float]:
    """Of a ratio of sums, by bootstrap over texts."""
    drawn = parts[rng.integers(0, len(parts), (DRAWS, len(parts)))].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / np.maximum(drawn[:, 1], 1), [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)


def _halves(parts: np.ndarray[tuple[int, int], np.dtype[np.float64]], rng: np.random.Generator) -> tuple[float, float]:
    found = []
    for _ in range(SPLITS):
        order = rng.permutation(len(parts))
        one, other = parts[order[: len(parts) // 2]].sum(axis=0), parts[order[len(parts) // 2 :]].sum(axis=0)
        found.append(one[0] / max(1, one[1]) - other[0] / max(1, other[1]))
    low, high = np.quantile(found, [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)
