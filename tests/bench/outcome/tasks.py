"""A task as cells are played on it: rows, which of them belong to which seed and size, vectors, and passages of documents.

Reads a task's folder (`train.jsonl`, `test.jsonl`, `task.json`, perhaps `docs.jsonl`) and what `preparing.py` made of it.
Knows no model.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.conversation import Example, Message, wire
from adapters.prompting.pool import Pool
from adapters.prompts import Shot
from tests.bench.outcome.scores import deciding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MATERIAL, TRAIN_VECTORS, TEST_VECTORS = "material.json", "train.npy", "test.npy"
ENCODER = "minilm"

Passages = list[list[int]]


def names(folder: Path, only: Sequence[str] = ()) -> list[str]:
    """Of the tasks in the folder, in order; only those asked for, where any are."""
    found = sorted(place.name for place in folder.iterdir() if (place / "task.json").is_file())
    if unknown := set(only) - set(found):
        raise SystemExit(f"no such task: {', '.join(sorted(unknown))}; there are: {', '.join(found)}")
    return [name for name in found if not only or name in only]


def raw_rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().split("\n") if line.strip()]


def example(row: dict[str, Any], number: int) -> Example:
    return Example((Message("user", row["prompt"]), Message("assistant", row["completion"])), number + 1, (1,))


def is_classification(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether every answer is its row's label."""
    return all(row.get("label") == row["completion"] for row in rows)


@dataclass(frozen=True)
class Task:
    """Rows are counted from 0, as lines of their files."""

    name: str
    folder: Path
    material: Path

    @cached_property
    def _said(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.material / MATERIAL).read_bytes())
        return found

    @cached_property
    def _train(self) -> list[dict[str, Any]]:
        return raw_rows(self.folder / "train.jsonl")

    @cached_property
    def test(self) -> list[Example]:
        """The frozen rows, the same for every arm, size and seed."""
        rows = raw_rows(self.folder / "test.jsonl")
        return [example(rows[number], number) for number in self._said["test"]]

    @cached_property
    def metric(self) -> str:
        return deciding(
            json.loads((self.folder / "task.json").read_bytes()).get("metric", ""), [row.answer for row in self.test]
        )

    @cached_property
    def labels(self) -> list[str]:
        """All that training rows have, of a classification; else none."""
        return sorted({row["label"] for row in self._train}) if is_classification(self._train) else []

    @property
    def has_documents(self) -> bool:
        return bool(self._said["test_found"])

    @property
    def most_rows(self) -> int:
        return min(len(order) for order in self._said["orders"].values())

    def rows(self, size: int, seed: int) -> list[int]:
        """Which training rows, the first so many of the seed's order: a larger size holds a smaller one."""
        order: list[int] = self._said["orders"][str(seed)]
        return order[:size]

    def train(self, rows: Sequence[int]) -> list[Example]:
        return [example(self._train[number], number) for number in rows]

    @cached_property
    def _places(self) -> dict[int, int]:
        return {number: place for place, number in enumerate(self._said["rows"])}

    def train_vectors(self, rows: Sequence[int]) -> NDArray[np.float32]:
        import numpy as np

        stored = np.load(self.material / TRAIN_VECTORS)
        found: NDArray[np.float32] = stored[[self._places[number] for number in rows]].astype(np.float32)
        return found

    @cached_property
    def test_vectors(self) -> NDArray[np.float32]:
        import numpy as np

        found: NDArray[np.float32] = np.load(self.material / TEST_VECTORS).astype(np.float32)
        return found

    def pool(self, rows: Sequence[int], tokenizer: Any) -> Pool:
        """What shots are chosen from; lengths are the base's own tokens."""
        shots = [Shot(one.question, one.answer) for one in self.train(rows)]
        return Pool(shots, self.train_vectors(rows), ENCODER, lambda text: len(tokenizer(text)["input_ids"]))

    @cached_property
    def _documents(self) -> list[dict[str, Any]]:
        return raw_rows(self.folder / "docs.jsonl")

    def test_passages(self, kind: str, most: int) -> Passages:
        """For each test row the documents that were found for it, or that answer it (`gold`), best first."""
        return [found[:most] for found in self._said["test_gold" if kind == "gold" else "test_found"]]

    def learned_passages(self, rows: Sequence[int], most: int) -> Passages:
        """For each training row a document that answers it and the nearest that do not; where none does, what was found."""
        made = []
        for number in rows:
            found, gold = (self._said[part][self._places[number]] for part in ("train_found", "train_gold"))
            others = [document for document in found if document not in gold]
            made.append([*gold[:1], *others][:most])
        return made

    def shown(self, one: Example, documents: Sequence[int]) -> Example:
        """The row with these before its question, as the gateway would put them."""
        from adapters.retrieval.shown import Shown, with_passages

        found = [self._documents[number] for number in documents]
        passages = [Shown(text=document["text"], heading="", source=document.get("title", "")) for document in found]
        (asked,) = with_passages(wire(one.prompt), passages)
        return dataclasses.replace(one, messages=(Message("user", asked["content"]), one.messages[-1]))
