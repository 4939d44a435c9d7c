"""A folder of documents as passages of about 200 words: Markdown and text by heading and paragraph, JSONL by row.

Knows no vector. Every error names the file, and the line where there is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adapters.errors import DataError, InvalidInput

WORDS = 200
"""About 270 tokens: a passage fits an encoder's window of 256 to 512 with little cut, and three fit any prompt."""

HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*")


@dataclass(frozen=True, slots=True)
class Passage:
    id: str
    """Unique in its folder and stable while the document stands: `<file>#<number>`."""
    title: str
    text: str
    source: str
    """The file, relative to the folder."""


def read_folder(folder: Path) -> list[Passage]:
    """All passages of the .md, .txt and .jsonl (`title`, `text`) files under the folder, by file name, hidden ones left out.

    Raises InvalidInput for no folder or no document in it, DataError for a file that cannot be read as what it is called.
    """
    if not folder.is_dir():
        raise InvalidInput(f"'{folder}' is not a folder of documents", param="docs")
    passages: list[Passage] = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in READERS and path.is_file()):
        source = path.relative_to(folder)
        if any(part.startswith(".") for part in source.parts):
            continue
        for number, (title, words) in enumerate(_cut(READERS[path.suffix.lower()](path))):
            passages.append(Passage(f"{source.as_posix()}#{number}", title, words, source.as_posix()))
    if not passages:
        raise InvalidInput(f"'{folder}' holds no text in .md, .txt or .jsonl files", param="docs")
    return passages


def _text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError("this is not UTF-8; save the file as UTF-8", path=str(path), line=line) from None


def _prose(path: Path) -> Iterator[tuple[str, str]]:
    """(title, paragraph) pairs; a Markdown heading gives the title of what follows, the file's name until then."""
    title, fenced = path.stem.replace("_", " ").replace("-", " "), False
    paragraph: list[str] = []
    for line in [*_text(path).splitlines(), ""]:
        fenced ^= line.lstrip().startswith("```")
        heading = HEADING.fullmatch(line.strip()) if path.suffix.lower() == ".md" and not fenced else None
        if line.strip() and heading is None:
            paragraph.append(line.rstrip())
            continue
        if paragraph:
            yield title, "\n".join(paragraph)
            paragraph = []
        if heading is not None:
            title = heading[1]
    if paragraph:  # a fence that was never closed
        yield title, "\n".join(paragraph)


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            raise DataError("this is not JSON; write one object a line", path=str(path), line=number) from None
        if not isinstance(row, dict):
            raise DataError("must be a JSON object with title and text", path=str(path), line=number)
        for field in ("title", "text"):
            if not isinstance(row.get(field, "" if field == "title" else None), str):
                raise DataError("must be text", path=str(path), line=number, field=field)
        if row["text"].strip():
            yield row.get("title", ""), row["text"].strip()


READERS = {".md": _prose, ".txt": _prose, ".jsonl": _rows}


def _cut(paragraphs: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Joins paragraphs under one title up to WORDS, and cuts those that are longer at a word."""
    title, held = "", list[str]()
    for heading, paragraph in paragraphs:
        words = paragraph.split(" ")
        size = len(" ".join(held).split())
        if held and (heading != title or size + len(words) > WORDS):
            yield title, "\n\n".join(held)
            held = []
        title = heading
        if len(words) <= WORDS:
            held.append(paragraph)
            continue
        parts = -(-len(words) // WORDS)
        each = -(-len(words) // parts)  # parts of equal length, so that no passage is a stump of three words
        yield from ((title, " ".join(words[start : start + each])) for start in range(0, len(words), each))
    if held:
        yield title, "\n\n".join(held)
