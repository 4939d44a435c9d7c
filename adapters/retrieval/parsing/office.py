"""Word, PowerPoint and Excel files, as the Markdown that markitdown makes of them. Needs the extra `docs`."""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePath

from adapters.errors import InvalidInput
from adapters.retrieval.parsing import markdown
from adapters.retrieval.parsing.contract import Document, unreadable

MOST_BYTES = 512 << 20
"""Unpacked. An archive of some KiB can say that it holds terabytes, and its parsers would believe it."""


def parse(raw: bytes, filename: str) -> Document:
    suffix = PurePath(filename).suffix.lower()
    try:  # markitdown would take what is no archive for text
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile:
        raise unreadable(filename, f"it is damaged, or no {suffix} file") from None
    if unpacked > MOST_BYTES:
        raise unreadable(filename, f"it unpacks to more than {MOST_BYTES >> 20} MiB")
    try:
        from markitdown import MarkItDown
    except ImportError:
        raise unreadable(filename, "office files need an extra: pip install 'graft-llm[docs]'") from None
    try:
        made = MarkItDown(enable_plugins=False).convert_stream(io.BytesIO(raw), file_extension=suffix)
        return markdown.parse(made.text_content.encode(), filename)
    except InvalidInput:
        raise
    except Exception as error:  # a torn or hostile file fails anywhere in the parsers, with any of Python's errors
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise unreadable(filename, f"it is damaged, or no {suffix} file ({said})") from error
