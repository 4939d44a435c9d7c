"""Which passage a part of an answer stands on, and where in its source document that is. Words only; no model, no search."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adapters.retrieval.words import EMPTY_WORDS, WORD, folded

MARKER = re.compile(r"\[(\d{1,3})\]")
SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?](?![\s\"')\]]|$)[^.!?\n]*)*[.!?]*[\"')\]]*")
SUPPORTED = 0.5
"""A sentence is supported by a span that holds at least this share of its telling words (three of five)."""
FEWEST_WORDS = 2
"""Fewer shared words than that are chance, unless the sentence has no more."""


@dataclass(frozen=True, slots=True)
class Cited:
    """A passage as the model saw it."""

    text: str
    start: int
    """Where it begins in its document, in characters."""


@dataclass(frozen=True, slots=True)
class Citation:
    index: int
    """In characters of the answer: behind what is cited for, or where its marker stands."""
    passage_number: int
    """From 0, as the passages were given."""
    start: int
    end: int
    """The supporting span, in characters of the passage's document, `end` not included."""


def cite(answer: str, passages: Sequence[Cited]) -> list[Citation]:
    """In the order of the answer. Markers such as `[1]` in it are taken at their word where that passage was shown;
    without any, each sentence is given the passage that holds most of its telling words, if one holds enough of them."""
    parts = [[(at, end, _telling(text)) for at, end, text in _sentences(passage.text)] for passage in passages]
    made: list[Citation] = []
    marked = [match for match in MARKER.finditer(answer) if 1 <= int(match[1]) <= len(passages)]
    if marked:
        for match in marked:
            number = int(match[1]) - 1
            before = [text for at, _, text in _sentences(MARKER.sub(lambda m: " " * len(m[0]), answer)) if at < match.start()]
            best = _best(_telling(before[-1]) if before else frozenset(), parts[number])
            at, end = best[1:] if best and best[0] else (0, len(passages[number].text))
            made.append(Citation(match.start(), number, passages[number].start + at, passages[number].start + end))
        return made
    for _, index, text in _sentences(answer):
        wanted = _telling(text)
        scored = [(best[0], -number, best) for number, part in enumerate(parts) if (best := _best(wanted, part))]
        if wanted and scored:
            shared, number, (_, at, end) = max(scored)
            if shared >= max(SUPPORTED * len(wanted), min(FEWEST_WORDS, len(wanted))):
                place = passages[-number].start
                made.append(Citation(index, -number, place + at, place + end))
    return made


def _best(wanted: frozenset[str], sentences: Sequence[tuple[int, int, frozenset[str]]]) -> tuple[int, int, int] | None:
    """How many of the words the best one or two sentences in a row hold, and from where to where they go."""
    found: tuple[int, int, int] | None = None
    for number, (at, end, words) in enumerate(sentences):
        spans = [(at, end, words)]
        if number + 1 < len(sentences):
            spans.append((at, sentences[number + 1][1], words | sentences[number + 1][2]))
        for start, stop, held in spans:
            shared = len(wanted & held)
            # of spans that hold as much, the shorter
            if found is None or (shared, start - stop) > (found[0], found[1] - found[2]):
                found = (shared, start, stop)
    return found


def _sentences(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and text of each sentence or line, spaces around it left out."""
    for match in SENTENCE.finditer(text):
        piece = match[0].strip()
        if piece:
            start = match.start() + len(match[0]) - len(match[0].lstrip())
            yield start, start + len(piece), piece


def _telling(text: str) -> frozenset[str]:
    return frozenset(WORD.findall(folded(text))) - EMPTY_WORDS
