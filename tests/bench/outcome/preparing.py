"""What every arm must share, decided once: which rows are asked and learned from, their vectors, and the passages found.

Texts stay in the task's folder; what is written names rows by number. Needs the sentence encoder, and no base.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adapters.prompting.pool import asked_key
from tests.bench.outcome.tasks import MATERIAL, TEST_VECTORS, TRAIN_VECTORS, is_classification, raw_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapters.retrieval.encoder import Encoder

SEEDS = (0, 1, 2)
MOST_ROWS = 1024
PASSAGES_KEPT = 8
DEPTH = 100
"""How far down each of the two rankings goes that are fused."""


def prepare(folder: Path, out: Path, encoder: Encoder, *, test_rows: int) -> dict[str, Any]:
    """Writes the task's material and says how much of it there is."""
    train, test = raw_rows(folder / "train.jsonl"), raw_rows(folder / "test.jsonl")
    known = {asked_key(row["prompt"]) for row in train}
    apart = [number for number, row in enumerate(test) if asked_key(row["prompt"]) not in known]
    asked = sorted(random.Random(0).sample(apart, min(test_rows, len(apart))))
    labels = [row["label"] for row in train] if is_classification(train) else None
    orders = {seed: order(len(train), labels, seed)[:MOST_ROWS] for seed in SEEDS}
    rows = sorted(set().union(*orders.values()))
    vectors = {
        TRAIN_VECTORS: encoder.encode([train[number]["prompt"] for number in rows]),
        TEST_VECTORS: encoder.encode([test[number]["prompt"] for number in asked]),
    }
    found: dict[str, Any] = {f"{part}_{kind}": [] for part in ("train", "test") for kind in ("found", "gold")}
    if (folder / "docs.jsonl").is_file():
        documents = raw_rows(folder / "docs.jsonl")
        place = {document["id"]: number for number, document in enumerate(documents)}
        shelf = _Shelf([f"{document.get('title', '')}\n{document['text']}" for document in documents], encoder)
        parts = {"train": [train[number] for number in rows], "test": [test[number] for number in asked]}
        for (part, chosen), questions in zip(parts.items(), (vectors[TRAIN_VECTORS], vectors[TEST_VECTORS]), strict=True):
            found[f"{part}_found"] = [shelf.search(row["input"], v) for row, v in zip(chosen, questions, strict=True)]
            found[f"{part}_gold"] = [[place[name] for name in row["doc_ids"] if name in place] for row in chosen]
    out.mkdir(parents=True, exist_ok=True)
    for name, made in vectors.items():
        np.save(out / name, made.astype(np.float16))
    said = {"test": asked, "orders": orders, "rows": rows, **found}
    (out / MATERIAL).write_text(json.dumps(said))
    recall = _recall(found["test_found"], found["test_gold"]) if found["test_gold"] else None
    size = sum(file.stat().st_size for file in out.iterdir())
    return {"train": len(train), "kept": len(rows), "asked": len(asked), "in_train": len(test) - len(apart),
            "recall_at_3": recall, "mib": round(size / 2**20, 2)}  # fmt: skip


def order(count: int, labels: Sequence[str] | None, seed: int) -> list[int]:
    """All rows in an order whose every beginning is a sample; with labels, each beginning holds them in nearly their shares.

    Systematic sampling: the k-th row of a label with m rows stands at (k + u) / m of the way, u drawn once for the label.
    """
    dice = random.Random(seed)
    shuffled = dice.sample(range(count), count)
    if labels is None:
        return shuffled
    classes: dict[str, list[int]] = defaultdict(list)
    for number in shuffled:
        classes[labels[number]].append(number)
    placed = []
    for _, members in sorted(classes.items()):
        offset = dice.random()
        placed += [((turn + offset) / len(members), number) for turn, number in enumerate(members)]
    return [number for _, number in sorted(placed)]


class _Shelf:
    """Documents searched by meaning and by words, fused as a store's generation does; each document is one passage."""

    def __init__(self, texts: Sequence[str], encoder: Encoder) -> None:
        from adapters.retrieval.lexical import Lexical, write

        self.vectors: NDArray[np.float32] = encoder.encode(texts)
        with tempfile.TemporaryDirectory() as place:
            write(texts, Path(place))
            self.lexical = Lexical(Path(place))  # mapped: it outlives its folder

    def search(self, question: str, vector: NDArray[np.float32]) -> list[int]:
        from adapters.retrieval.fusion import LEXICAL_WEIGHT, fused

        cosines = self.vectors @ vector
        dense = [int(row) for row in np.argsort(-cosines, kind="stable")[:DEPTH]]
        worded = self.lexical.search(question, DEPTH)
        rows = list(dict.fromkeys((*dense, *worded)))
        covered = dict(zip(rows, self.lexical.coverage(question, rows), strict=True))
        near = {row: max(0.0, float(cosines[row])) for row in rows}
        return fused(dense, worded, LEXICAL_WEIGHT, near, covered)[:PASSAGES_KEPT]


def _recall(found: Sequence[Sequence[int]], gold: Sequence[Sequence[int]]) -> float:
    return round(sum(bool(set(some[:3]) & set(right)) for some, right in zip(found, gold, strict=True)) / len(gold), 3)
