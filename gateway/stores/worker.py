"""The ingest worker: `python -m gateway.stores.worker SOCKET TOKENIZER GIB`. Reads files, cuts them, builds generations.

A line of JSON on stdin is a request, a line on stdout its answer; lines with `beat` before it say that work goes on. It
is a process of its own because what it reads may be wrong in any way: a parser that crashes takes nothing else along.
Vectors come from the encoder child. Knows no database and no store.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePath
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from adapters.errors import InvalidInput, Unavailable
from adapters.retrieval import chunks, generation, prepared
from adapters.retrieval.parsing.table import PARSERS
from gateway.retrieval.client import encode

ENCODER_PATIENCE_S = 30.0
"""What a restarting encoder gets before the gateway is told."""
AT_ONCE = 64
"""Texts in one question to the encoder: a beat comes after each."""
LONGEST_REASON = 1000

Answer = dict[str, Any]


class Worker:
    def __init__(self, socket: Path, tokenizer: Path, memory_gib: float, say: Callable[[Answer], None]) -> None:
        """`memory_gib`: by how much a file that is being read may make this process grow."""
        self._socket, self._tokenizer, self._memory_gib, self._say = socket, tokenizer, memory_gib, say

    def answer(self, request: Mapping[str, Any]) -> Answer:
        kind = "build" if "build" in request else "prepare"
        try:
            return {"done": self._build(**request["build"]) if kind == "build" else self._prepare(**request["prepare"])}
        except Unavailable as lost:
            return {"unavailable": lost.message}
        except OSError as trouble:  # a full disk, a folder that may not be written: no file's fault
            return {"trouble": str(trouble)}
        except InvalidInput as wrong:
            return _failed(wrong.message, request)
        except MemoryError:
            return _failed(f"reading it takes more than {self._memory_gib:g} GiB of memory", request)
        except Exception as error:
            traceback.print_exc()
            return _failed(f"reading it failed ({type(error).__name__}: {error})", request)

    def _prepare(self, path: str, filename: str, folder: str, max_tokens: int, overlap_tokens: int) -> Answer:
        chunking = chunks.Chunking(max_tokens, overlap_tokens)
        with _growing_by_at_most(self._memory_gib):
            made = prepared.prepare(Path(path), filename, Path(folder), chunking, _counter(self._tokenizer), self._encode)
        return {"usage_bytes": made.bytes, "passages": made.passages}

    def _build(self, folder: str, files: Mapping[str, str], encoder: str, exact_up_to: int) -> Answer:
        prepared_files = {file: Path(where) for file, where in files.items()}
        generation.build(Path(folder), prepared_files, encoder, exact_up_to=exact_up_to)
        return {}

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(texts), AT_ONCE):
            self._say({"beat": start})
            parts.append(encode(self._socket, texts[start : start + AT_ONCE], patience_s=ENCODER_PATIENCE_S).vectors)
        self._say({"beat": len(texts)})
        return np.concatenate(parts)


@cache
def _counter(tokenizer: Path) -> chunks.Count:
    return chunks.counter(tokenizer)


@contextmanager
def _growing_by_at_most(gib: float) -> Iterator[None]:
    """Allocations beyond it fail while the block runs. Counted in addresses, which the kernel can bound, from what there is."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * os.sysconf("SC_PAGE_SIZE") + int(gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _failed(reason: str, request: Mapping[str, Any]) -> Answer:
    """With the code that the API has for a file of a kind that has no parser, or for one that its parser refuses."""
    suffix = PurePath(request.get("prepare", {}).get("filename", "")).suffix.lower()
    return {"failed": reason[:LONGEST_REASON], "code": "invalid_file" if suffix in PARSERS else "unsupported_file"}


def serve(requests: TextIO, answers: TextIO, socket: Path, tokenizer: Path, memory_gib: float) -> None:
    def say(answer: Answer) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    worker = Worker(socket, tokenizer, memory_gib, say)
    say({"beat": 0})  # it has started
    for line in requests:
        say(worker.answer(json.loads(line)))


if __name__ == "__main__":
    # what a parser prints must not look like an answer
    own = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin, own, Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
