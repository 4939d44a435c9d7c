"""From a file to its text and the headings its parts stand under. Which parser a file has is `parsing/table.py`'s.

Knows no passage and no vector.
"""

from __future__ import annotations

from pathlib import Path, PurePath

from adapters.retrieval.parsing.contract import Document, unreadable
from adapters.retrieval.parsing.table import PARSERS


def read_document(path: Path, filename: str) -> Document:
    """The text of the file at `path`, read as what `filename` says it is; of an unknown kind, as text if it is some.

    Raises InvalidInput with code `unreadable_document` and the reason: empty, binary, locked by a password, torn.
    """
    raw = path.read_bytes()
    if not raw.strip():
        raise unreadable(filename, "it is empty")
    parse = PARSERS.get(PurePath(filename).suffix.lower(), PARSERS[""])
    document = parse(raw, filename)
    if not document.text.strip():
        raise unreadable(filename, "there is no text in it")
    # half a character, as JSON can spell one, is no text that could be written; it is one character before and after
    return Document(document.text.encode("utf-8", "replace").decode(), document.sections)
