"""Is the document found that holds the answer? recall@1 and @5 by meaning, by words and fused, on a task with known documents.

The task is a folder with train.jsonl and test.jsonl (`input`, `doc_ids`) and docs.jsonl (`id`, `title`, `text`). What is
searched is what a store searches: a file a document, prepared, built into a generation and opened from the disk. Weights are
chosen on the training rows (`--split train --weights …`), and reported on the others.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.embedded import encoder_folder
from adapters.retrieval import generation
from adapters.retrieval.chunks import Chunking, counter
from adapters.retrieval.encoder import Encoder, Reranker
from adapters.retrieval.fusion import LEXICAL_WEIGHT
from adapters.retrieval.generation import Generation, Wish
from adapters.retrieval.prepared import prepare

Rows = list[dict[str, Any]]
Hits = NDArray[np.bool_]
DEPTHS = (1, 5)


def main(flags: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench retrieving", description=__doc__)
    parser.add_argument("--task", type=Path, required=True, help="the task's folder")
    parser.add_argument("--split", choices=["train", "test"], default="test")
    parser.add_argument("--most", type=int, default=1000, help="rows, drawn by a seed (default: %(default)s)")
    parser.add_argument("--weights", type=float, nargs="+", default=[LEXICAL_WEIGHT], help="of words in the fused ranking")
    parser.add_argument("--tokens", type=int, default=400, help="of a passage at most (default: %(default)s)")
    parser.add_argument("--reranker", help="a cross-encoder, by folder")
    asked = parser.parse_args(list(flags))
    encoder = Encoder(encoder_folder())
    rows = _read(asked.task / f"{asked.split}.jsonl")
    rows = random.Random(0).sample(rows, min(asked.most, len(rows)))
    vectors = encoder.encode([row["input"] for row in rows])
    with tempfile.TemporaryDirectory() as scratch:
        opened = _store(asked.task, Path(scratch), Chunking(asked.tokens), encoder)
        print(f"{asked.task.name}, {len(rows)} {asked.split} rows, {len(opened.files):,} documents, {opened.rows:,} passages")
        print(f"{'':14} {'recall@1':>22} {'recall@5':>22}")
        parts = {name: _hits(opened, rows, vectors, weight) for name, weight in (("dense", 0.0), ("BM25", 1.0))}
        for name, hits in parts.items():
            _say(name, hits)
        for weight in asked.weights:
            hits = _hits(opened, rows, vectors, weight)
            _say(f"fused, {weight:g}", hits)
            _say_beside(hits, parts)
        if asked.reranker:
            _say("reranked", _hits(opened, rows, vectors, asked.weights[0], Reranker(asked.reranker)))


def _read(file: Path) -> Rows:
    with file.open() as lines:
        return [json.loads(line) for line in lines]


def _store(task: Path, scratch: Path, chunking: Chunking, encoder: Encoder) -> Generation:
    """The documents as a store holds them, a Markdown file each under its title."""
    count, files = counter(encoder_folder()), {}
    for number, document in enumerate(_read(task / "docs.jsonl")):
        source = scratch / f"{number}.jsonl"
        source.write_text(json.dumps({"title": document["title"], "text": document["text"]}))
        files[document["id"]] = scratch / "prepared" / str(number)
        prepare(source, source.name, files[document["id"]], chunking, count, encoder.encode)
    generation.build(scratch / "generation", files, "bench")
    return Generation.open(scratch / "generation", "bench")


def _hits(
    opened: Generation, rows: Rows, vectors: NDArray[np.float32], weight: float, reranker: Reranker | None = None
) -> Hits:
    """(rows, len(DEPTHS)): whether a document of the row's is among the first so many documents found."""
    made = []
    for row, vector in zip(rows, vectors, strict=True):
        wish = Wish(row["input"], vector, 5 * max(DEPTHS), weight, rerank=reranker is not None)
        found = opened.search(wish, reranker.scores if reranker else None)
        documents = list(dict.fromkeys(passage.file for passage in found))
        made.append([any(name in row["doc_ids"] for name in documents[:depth]) for depth in DEPTHS])
    return np.array(made)


def _say(name: str, hits: Hits) -> None:
    said = []
    for column in hits.T:
        low, high = wilson(int(column.sum()), len(column))
        said.append(f"{column.mean():.3f} [{low:.3f}, {high:.3f}]")
    print(f"{name:14} {said[0]:>22} {said[1]:>22}", flush=True)


def _say_beside(hits: Hits, parts: dict[str, Hits]) -> None:
    """The fused ranking less the better of its parts, on the same rows, with a paired bootstrap's interval of 95 %."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(hits), size=(2000, len(hits)))
    said = []
    for depth in range(len(DEPTHS)):
        better = max(parts, key=lambda name: parts[name][:, depth].mean())
        difference = hits[:, depth].astype(int) - parts[better][:, depth].astype(int)
        low, high = np.percentile(difference[drawn].mean(axis=1), [2.5, 97.5])
        said.append(f"{difference.mean():+.3f} [{low:+.3f}, {high:+.3f}] {better}")
    print(f"{'  less the better':14} {said[0]} · {said[1]}", flush=True)


def wilson(hits: int, rows: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share (1927)."""
    share = hits / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return middle - half, middle + half
