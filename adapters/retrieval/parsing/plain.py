"""Bytes to text, and documents that are text as they are: notes and source code, whose parts have no names.

Knows UTF-8 and whatever says by its first bytes that it is something else; guesses nothing.
"""

from __future__ import annotations

import codecs

from adapters.retrieval.parsing.contract import Document, unreadable, whole

MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark begins this one
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""Byte order marks, and what they stand for."""


def parse(raw: bytes, filename: str) -> Document:
    return whole(decoded(raw, filename))


def decoded(raw: bytes, filename: str) -> str:
    """The text without its byte order mark, line ends as they are. Raises `unreadable` where it is none."""
    mark = next((mark for mark in MARKS if raw.startswith(mark)), b"")
    encoding = MARKS.get(mark, "utf-8")
    try:
        text = raw[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if b"\0" in raw:
            raise unreadable(filename, "it holds binary data, not text") from None
        line = raw.count(b"\n", 0, len(mark) + error.start) + 1
        raise unreadable(filename, f"line {line} is not {encoding.upper()}; save the file as UTF-8") from None
    if "\0" in text:
        raise unreadable(filename, "it holds binary data, not text")
    return text
