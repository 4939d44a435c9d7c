"""PDF by pages, each under the heading `page 3`: the text that stands in it, and no picture. The one door to pypdf."""

from __future__ import annotations

import io
import re

import pypdf

from adapters.errors import InvalidInput
from adapters.retrieval.parsing.contract import Document, Section, unreadable

HYPHEN = re.compile(r"([^\W\d_])[-\u00ad]\n(?=[a-zà-ÿ])")
"""A word that a line's end divides: it is searched as one."""


def parse(raw: bytes, filename: str) -> Document:
    try:
        reader = pypdf.PdfReader(io.BytesIO(raw))
        if reader.is_encrypted and not reader.decrypt(""):
            raise unreadable(filename, "it is locked by a password; save it without one")
        texts = [_page(page.extract_text()) for page in reader.pages]
    except InvalidInput:
        raise
    except Exception as error:  # a torn or hostile file fails anywhere in the parser, with any of Python's errors
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise unreadable(filename, f"it is damaged, or no PDF ({said})") from error
    if not any(text.strip() for text in texts):
        raise unreadable(filename, "its pages hold no text, so they are pictures; run text recognition over it first")
    sections, at = [], 0
    for number, text in enumerate(texts, start=1):
        if text.strip():
            sections.append(Section(f"page {number}", at, at + len(text)))
        at += len(text) + 2
    return Document("\n\n".join(texts), tuple(sections))


def _page(text: str) -> str:
    return HYPHEN.sub(r"\1", text.replace("\0", "")).strip()
