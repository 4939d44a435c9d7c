"""A report as one file, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from adapters.errors import InvalidInput
from advisor.advice import Advice
from advisor.report import page


def write(advice: Advice, file: Path) -> None:
    """Replaces what is there. Raises InvalidInput where it cannot be written."""
    text = page.page(advice).encode(errors="replace")  # half a pair of surrogates is no character of a file
    try:
        descriptor, made = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}", param="html") from error
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(text)
        os.chmod(made, 0o644)
        os.replace(made, file)
    except OSError as error:
        Path(made).unlink(missing_ok=True)
        raise InvalidInput(f"{file} cannot be written: {error.strerror}", param="html") from error
