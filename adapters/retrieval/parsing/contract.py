"""What a parser gives: a document's text, and which part of it stands under which heading.

Knows no file format; `table.py` says which file has which parser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adapters.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Section:
    heading: str
    """A path such as `Guide > Install`, or `page 3`; empty where nothing names the part."""
    start: int
    end: int
    """In characters of the document's text, `end` not included."""


@dataclass(frozen=True, slots=True)
class Document:
    text: str
    """What offsets of passages and citations count in. Plain formats are kept as they are; others as they were read."""
    sections: tuple[Section, ...]
    """In order, without overlap; whatever is no space lies in one of them."""


Parser = Callable[[bytes, str], Document]
"""From a file's content and its name (for errors) to its text. Raises `unreadable`."""


def unreadable(filename: str, reason: str) -> InvalidInput:
    return InvalidInput(f"'{filename}' cannot be read: {reason}", param="file", code="unreadable_document")


def whole(text: str) -> Document:
    """A document whose parts have no names."""
    return Document(text, (Section("", 0, len(text)),))
