"""Documents cut into passages that an encoder takes whole, where the text divides, with their places in it.

The one door to semchunk. Knows tokens only as a number that `count` gives; `counter` counts as an encoder does.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from adapters.errors import InvalidInput, NotFound
from adapters.retrieval.parsing.contract import Document, Section

Count = Callable[[str], int]
WORD_BEGINS = re.compile(r"(?<!\S)\S")

FEWEST_TOKENS, MOST_TOKENS = 50, 4096
CHARACTERS_PER_TOKEN_AT_MOST = 16
"""A word of a thousand letters is one unknown token to some encoders, and spaces are none: text is counted by its length
where that gives more, so that no passage grows without bound. English has about 4.5."""


@dataclass(frozen=True, slots=True)
class Chunking:
    """How long passages are, in tokens of the encoder that they are cut for."""

    max_tokens: int = 400
    overlap_tokens: int = 0
    """How much of the passage before it each passage repeats, within one section."""

    def __post_init__(self) -> None:
        if not FEWEST_TOKENS <= self.max_tokens <= MOST_TOKENS:
            raise InvalidInput(
                f"passages may have {FEWEST_TOKENS} to {MOST_TOKENS} tokens, not {self.max_tokens}", param="max_tokens"
            )
        if not 0 <= self.overlap_tokens <= self.max_tokens // 2:
            raise InvalidInput(
                f"passages may overlap by 0 to {self.max_tokens // 2} tokens, half of their length, not {self.overlap_tokens}",
                param="overlap_tokens",
            )


@dataclass(frozen=True, slots=True)
class Passage:
    """`document.text[start:end] == text`."""

    number: int
    """From 0, in the order of the document."""
    start: int
    end: int
    heading: str
    text: str


def headed(heading: str, text: str) -> str:
    """A passage as it is encoded and searched: under its heading."""
    return f"{heading}\n{text}" if heading else text


def counter(encoder_folder: Path) -> Count:
    """Counts tokens as the encoder in the folder does, without the ones it puts around every text."""
    from tokenizers import Tokenizer

    file = encoder_folder / "tokenizer.json"
    if not file.is_file():
        raise NotFound(f"{encoder_folder} has no tokenizer.json, so its tokens cannot be counted", param="encoder")
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # the batched call is the fast one: it does not work out where each token stands
    return lambda text: len(tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])


def cut(document: Document, chunking: Chunking, count: Count) -> list[Passage]:
    """The document's passages in order. Every character but spaces is in one; none is longer than `max_tokens`.

    Sections are cut apart from each other; neighbours that are small (`_joined`) share a passage, under the first's heading.
    """

    def weigh(text: str) -> int:
        return max(count(text), -(-len(text) // CHARACTERS_PER_TOKEN_AT_MOST))

    text, passages = document.text, list[Passage]()
    for section in _joined(document, chunking, weigh):
        first = len(passages)
        for start, end in _spans(text[section.start : section.end], chunking.max_tokens - chunking.overlap_tokens, weigh):
            start, end = section.start + start, section.start + end
            if chunking.overlap_tokens and len(passages) > first:
                start = _earlier(text, passages[-1].start, start, end, chunking, weigh)
            passages.append(Passage(len(passages), start, end, section.heading, text[start:end]))
    return passages


def _spans(text: str, size: int, weigh: Count) -> list[tuple[int, int]]:
    import semchunk

    try:
        _, spans = semchunk.chunk(text, size, weigh, memoize=False, offsets=True)
    except RecursionError:
        raise InvalidInput("it has too many kinds of blank lines to be cut", code="unreadable_document") from None
    return [_stripped(text, start, end) for start, end in spans]


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return end - len(piece.lstrip()), start + len(piece.rstrip())


def _joined(document: Document, chunking: Chunking, weigh: Count) -> Iterator[Section]:
    """The sections, those joined that are together shorter than a share of a passage: a heading over one line finds little."""
    most = chunking.max_tokens // 4
    held: Section | None = None
    for section in document.sections:
        if held is not None:
            both = Section(held.heading or section.heading, held.start, section.end)
            is_short = both.end - both.start <= most * CHARACTERS_PER_TOKEN_AT_MOST
            if is_short and weigh(document.text[both.start : both.end]) <= most:
                held = both
                continue
            yield held
        held = section
    if held is not None:
        yield held


def _earlier(text: str, earliest: int, start: int, end: int, chunking: Chunking, weigh: Count) -> int:
    """Where the passage from `start` begins when it repeats what the overlap allows of what stands before it: at a word."""
    earliest = max(earliest, start - chunking.overlap_tokens * CHARACTERS_PER_TOKEN_AT_MOST)
    begins = [match.start() for match in WORD_BEGINS.finditer(text, earliest, start)]

    def fits(at: int) -> bool:
        return weigh(text[at:start]) <= chunking.overlap_tokens and weigh(text[at:end]) <= chunking.max_tokens

    chosen = bisect_left(begins, True, key=fits)
    return begins[chosen] if chosen < len(begins) else start
