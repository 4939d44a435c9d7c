"""Tables and records as text: CSV, TSV, JSON and JSONL. Each row is a section of `column: value` lines, under its title if any.

Knows no type of value; a row is what one line of a table, or one object of a list, says.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from adapters.retrieval.parsing.contract import Document, Section, unreadable
from adapters.retrieval.parsing.plain import decoded

TITLE = "title"
BLANK = re.compile(r"\n\s*\n")
LONGEST_CELL = 1 << 24


def parse_table(raw: bytes, filename: str) -> Document:
    """CSV or TSV whose first row names the columns. The separator is whichever of , ; tab | stands in that row most."""
    text = decoded(raw, filename)
    first = text.lstrip().partition("\n")[0]
    separator = max(",;\t|", key=first.count)
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        rows = [row for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise unreadable(filename, f"line {reader.line_num}: {error}") from None
    if len(rows) < 2:
        raise unreadable(filename, "it has no row under the one that names its columns")
    names = [name.strip() or f"column {number}" for number, name in enumerate(rows[0], start=1)]
    names += [f"column {number}" for number in range(len(names) + 1, max(map(len, rows)) + 1)]
    return _document({name: cell.strip() for name, cell in zip(names, row, strict=False)} for row in rows[1:])


def parse_json(raw: bytes, filename: str) -> Document:
    """A list's members are the rows; anything else is one row."""
    said = _loaded(decoded(raw, filename), filename, 1)
    return _document(said if isinstance(said, list) else [said])


def parse_lines(raw: bytes, filename: str) -> Document:
    """JSON Lines: a row a line."""
    lines = enumerate(decoded(raw, filename).split("\n"), start=1)
    return _document(_loaded(line, filename, number) for number, line in lines if line.strip())


def _loaded(text: str, filename: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise unreadable(filename, f"line {line + error.lineno - 1} is not JSON ({error.msg})") from None
    except (RecursionError, ValueError) as error:  # too deep, or a number of too many digits
        raise unreadable(filename, f"line {line} is not JSON that can be read ({error})") from None


def _document(rows: Iterable[Any]) -> Document:
    pieces: list[str] = []
    sections: list[Section] = []
    at = 0
    for row in rows:
        title, text = _written(row)
        if not text.strip():
            continue
        pieces.append(text)
        sections.append(Section(title, at, at + len(text)))
        at += len(text) + 2
    return Document("\n\n".join(pieces), tuple(sections))


def _written(row: Any) -> tuple[str, str]:
    """A row's title and text. What has a single field beside its title is that field's text, under the title."""
    title = row.get(TITLE) if isinstance(row, dict) else None
    title = " ".join(title.split()) if isinstance(title, str) else ""
    lines = list(_lines(row))
    body = [(name, value) for name, value in lines if not (title and name == TITLE)]
    if len(body) == 1:
        return title, "\n".join(part for part in (title, body[0][1]) if part)
    said = [f"{name}: {BLANK.sub(chr(10), value)}" if name else value for name, value in body]
    return title, "\n".join([title, *said] if title else said)


def _lines(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Name and text of each value; those inside others are named by the way to them, with dots."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _lines(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for number, inner in enumerate(value, start=1):
            yield from _lines(inner, f"{name}.{number}" if name else str(number))
    elif isinstance(value, list):
        if value:
            yield name, ", ".join(_spelled(inner) for inner in value)
    elif value is not None and value != "":
        yield name, _spelled(value)


def _spelled(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value)
