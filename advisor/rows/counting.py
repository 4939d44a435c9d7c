"""How long rows are, in words and in tokens of the base where it is at hand, and how many of them can be used at all.

Knows a tokenizer only as a function that counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adapters.conversation import Example
from advisor.evidence import Evidence

CHARACTERS_PER_TOKEN = 4.0
"""Of English text in a subword vocabulary of 30 to 150 thousand pieces; other scripts and code run lower."""


@dataclass(frozen=True, slots=True)
class Counting:
    """A base's own counting."""

    count: Callable[[Sequence[str]], list[int]]
    """Tokens of each text by itself."""
    frame: int
    """That the chat template puts around a question and its answer."""
    context: int
    """Tokens the base reads at most."""


def counted(examples: Sequence[Example], counting: Counting | None) -> list[Evidence]:
    """Lengths and how many rows are usable: with text on both sides, no repetition, and short enough for the base."""
    n = len(examples)
    words = [len(example.answer.split()) for example in examples]
    asked = ["\n".join(message.content for message in example.prompt) for example in examples]
    answers = [example.answer for example in examples]
    if counting is None:
        how = f"characters / {CHARACTERS_PER_TOKEN:g}, the usual length of a piece of English text"
        sizes, said = ([len(text) / CHARACTERS_PER_TOKEN for text in side] for side in (asked, answers))
        frame, most = 0.0, float("inf")
    else:
        how = "counted by the base's tokenizer, with what its chat template puts around a row"
        sizes, said = ([float(size) for size in counting.count(side)] for side in (asked, answers))
        frame, most = float(counting.frame), float(counting.context)
    whole = [question + answer + frame for question, answer in zip(sizes, said, strict=True)]
    keys = [(example.prompt_key, " ".join(example.answer.casefold().split())) for example in examples]
    repeated = n - len(set(keys))
    empty = sum(
        not example.answer.strip() or (not example.is_document and not example.question.strip()) for example in examples
    )
    long = sum(size > most for size in whole)
    seen: set[tuple[str, str]] = set()
    usable = 0
    for key, example, size in zip(keys, examples, whole, strict=True):
        text = example.answer.strip() and (example.is_document or example.question.strip())
        usable += bool(text) and key not in seen and size <= most
        seen.add(key)
    left_out = f"{repeated} repeat another, {empty} have no text" + ("" if counting is None else f", {long} are too long")
    return [
        Evidence("usable_rows", usable, "rows", f"of {n} rows, {left_out}", n),
        Evidence("answer_words", statistics.median(words), "words", "median over the rows", n),
        Evidence("longest_answer_words", max(words), "words", "longest in the file", n),
        Evidence("dataset_tokens", round(sum(whole)), "tokens", how, n),
        Evidence("tokens_per_example", round(sum(whole) / n, 1), "tokens", f"mean over the rows; {how}", n),
        Evidence("answer_tokens", round(sum(said) / n, 1), "tokens", f"mean over the rows; {how}", n),
    ]
