"""The ingest worker with parsers that crash, hang and eat memory, and an encoder that needs no model."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adapters.retrieval.parsing import plain
from adapters.retrieval.parsing.contract import Document
from adapters.retrieval.parsing.table import PARSERS
from gateway.retrieval.client import Encoded
from gateway.stores import worker

WIDTH = 4


def crash(raw: bytes, filename: str) -> Document:
    os.kill(os.getpid(), signal.SIGSEGV)
    return plain.parse(raw, filename)


def crash_once(raw: bytes, filename: str) -> Document:
    """Dies the first time somebody reads this very content."""
    seen = Path(sys.argv[1]) / hashlib.sha256(raw).hexdigest()
    if not seen.exists():
        seen.touch()
        crash(raw, filename)
    return plain.parse(raw, filename)


def hang(raw: bytes, filename: str) -> Document:
    time.sleep(600)
    return plain.parse(raw, filename)


def eat(raw: bytes, filename: str) -> Document:
    return Document((raw * 2**34).decode(), ())


def stumble(raw: bytes, filename: str) -> Document:
    raise ZeroDivisionError("a bug of the parser")


def slow(raw: bytes, filename: str) -> Document:
    (Path(sys.argv[1]) / "reading").touch()
    time.sleep(1)
    return plain.parse(raw, filename)


def encode(_: Path, texts: Sequence[str], **__: Any) -> Encoded:
    rows = np.array([[len(text), text.count("a"), text.count("e"), 1] for text in texts], dtype=np.float32)
    return Encoded(rows / np.linalg.norm(rows, axis=1, keepdims=True), sum(map(len, texts)), "odd")


if __name__ == "__main__":
    PARSERS.update({".crash": crash, ".once": crash_once, ".hang": hang, ".eat": eat, ".bug": stumble, ".slow": slow})
    worker.encode = encode
    own = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    worker.serve(sys.stdin, own, Path(), Path(sys.argv[2]), 0.5)
