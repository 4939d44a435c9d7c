"""Markdown by its headings: `# Guide`, `Guide` over a line of `===` or `---`. Nothing else of it is interpreted.

Knows fences, whose lines are no headings, and front matter, which is text before the first one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from adapters.retrieval.parsing.contract import Document, Section
from adapters.retrieval.parsing.plain import decoded

HASHES = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
NO_TITLE = re.compile(r"\s*$| {0,3}(?:[-*+>|#]|\d+[.)]\s)| {4}|\t")
"""Lines that a line of dashes does not make a heading of: blank, list, quote, table, heading, code."""


def parse(raw: bytes, filename: str) -> Document:
    text = decoded(raw, filename)
    headings = list(_headings(text))
    return Document(text, sections(text, headings))


def sections(text: str, headings: list[tuple[int, int, int, str]]) -> tuple[Section, ...]:
    """The text cut before every heading, given as (start, end, level, title) in order, `end` where its line ends.

    A heading with nothing under it before the next one is no section of its own: it opens the next.
    """
    found: list[Section] = []
    path: list[tuple[int, str]] = []
    start, body = 0, 0
    for at, after, level, title in [*headings, (len(text), len(text), 0, "")]:
        ends = at == len(text)
        if text[start if ends else body : at].strip():
            found.append(Section(" > ".join(title for _, title in path if title), start, at))
            start = at
        path = [*(step for step in path if step[0] < level), (level, title)]
        body = after
    return tuple(found)


def _headings(text: str) -> Iterator[tuple[int, int, int, str]]:
    fence, before, before_at, at = "", "", 0, 0
    lines = text.splitlines(keepends=True)
    skipped = _front_matter(lines)
    for number, whole_line in enumerate(lines):
        line, end = whole_line.rstrip("\r\n"), at + len(whole_line)
        opened = FENCE.match(line)
        if number < skipped:
            line = ""
        elif fence:
            if opened and opened[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
            line = ""
        elif opened:
            fence, line = opened[1], ""
        elif hashes := HASHES.match(line):
            yield at, end, len(hashes[1]), _title(line[hashes.end() :])
            line = ""
        elif (under := UNDERLINE.fullmatch(line)) and not NO_TITLE.match(before):
            yield before_at, end, 1 if under[1][0] == "=" else 2, before.strip()
            line = ""
        before, before_at, at = line, at, end


def _title(said: str) -> str:
    """What stands behind a heading's hashes, without those that may close it."""
    said = said.strip()
    opened = said.rstrip("#")
    return opened.strip() if not opened or opened[-1] in " \t" else said


def _front_matter(lines: list[str]) -> int:
    """How many lines of metadata the document begins with, between two lines of `---`."""
    if lines and lines[0].strip() == "---":
        return next((number for number, line in enumerate(lines[1:], start=2) if line.strip() in ("---", "...")), 0)
    return 0
