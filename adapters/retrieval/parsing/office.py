"""Word, PowerPoint and Excel files, as the Markdown that markitdown makes of them. Needs the extra `docs`."""

from __future__ import annotations

import io
from pathlib import PurePath

from adapters.errors import InvalidInput
from adapters.retrieval.parsing import markdown
from adapters.retrieval.parsing.contract import Document, unreadable


def parse(raw: bytes, filename: str) -> Document:
    try:
        from markitdown import MarkItDown
    except ImportError:
        raise unreadable(filename, "office files need an extra: pip install 'graft-llm[docs]'") from None
    suffix = PurePath(filename).suffix.lower()
    try:
        made = MarkItDown(enable_plugins=False).convert_stream(io.BytesIO(raw), file_extension=suffix)
        return markdown.parse(made.text_content.encode(), filename)
    except InvalidInput:
        raise
    except Exception as error:  # a torn or hostile file fails anywhere in the parsers, with any of Python's errors
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise unreadable(filename, f"it is damaged, or no {suffix} file ({said})") from error
