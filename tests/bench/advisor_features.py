"""What the advisor measures on the rows that the outcome table was played on: a line of evidence for each task, size and seed.

Beside `outcomes`, this is what predictions are fitted on and judged by. The rows of a line are exactly the training rows that
the material names for the size and seed; nothing of the test rows is looked at. Started again it goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.bench.outcome import cells, tasks
from tests.bench.outcome.cells import SIZES
from tests.bench.outcome.tasks import Task


def main(flags: Sequence[str] = ()) -> None:
    asked = _flags(flags)
    began = time.monotonic()
    import torch

    from adapters import bases
    from advisor.measuring import opened

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    folder = Path(asked.base)
    if not (folder / "config.json").is_file():
        from gateway import settings

        folder = bases.locate(asked.base, settings.load().storage_cache).folder
    name = bases.default_name(folder.name)
    models = opened(folder)
    same = {
        "versions": _versions(), "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor(),
        "command": f"python -m tests.bench advisor_features {shlex.join(flags)}",
    }  # fmt: skip
    more = _more_at_once() if torch.cuda.is_available() else nullcontext()
    known = {one: Task(one, asked.tasks / one, asked.material / one) for one in tasks.names(asked.tasks, asked.only)}
    with more:
        _measure(asked, known, name, models, same, began)


def _measure(
    asked: argparse.Namespace, known: dict[str, Task], name: str, models: Any, same: dict[str, Any], began: float
) -> None:
    longest = 0.0
    for task, size, seed in _wanted(asked, known, name):
        if time.monotonic() - began + longest > asked.limit_s:
            print("the time is up", flush=True)
            return
        start = time.monotonic()
        line: dict[str, Any] = {"task": task, "base": name, "n": size, "seed": seed}
        line |= _line(known[task], size, seed, models, asked.budget_s)
        took = time.monotonic() - start
        longest = max(longest, took)
        cells.append(asked.out, line | {"seconds": round(took, 2)} | same)
        print(f"{task} {size} {seed}: {line.get('error') or len(line['evidence'])} in {took:.1f} s", flush=True)


@contextmanager
def _more_at_once() -> Iterator[None]:
    """A small base on a GPU answers hundreds in the time of sixteen."""
    from adapters.data import batches
    from adapters.evaluation import completer

    with patch.object(completer, "ROWS_AT_ONCE", 256), patch.object(batches, "TOKENS_AT_ONCE", 2**16):
        yield


def _flags(flags: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench advisor_features", description=__doc__)
    parser.add_argument("--tasks", type=Path, required=True, help="folder of tasks, as for outcomes")
    parser.add_argument("--material", type=Path, required=True, help="what `outcomes prepare` made")
    parser.add_argument("--base", required=True, help="a folder, a hub id or an embedded base")
    parser.add_argument("--out", type=Path, required=True, help="file of lines, added to")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", default=[], help="tasks")
    parser.add_argument("--budget-s", type=float, default=60.0, help="what a user would give; it decides how much is asked")
    parser.add_argument("--limit-s", type=float, default=float("inf"), help="begin nothing that would end later")
    asked = parser.parse_args(list(flags))
    asked.only = [name for word in asked.only for name in word.split(",")]
    return asked


def _wanted(asked: argparse.Namespace, known: dict[str, Task], base: str) -> list[tuple[str, int, int]]:
    """One seed after the other, and in it all tasks at one size before the next."""
    lines = asked.out.read_text().splitlines() if asked.out.is_file() else []
    have = [json.loads(line) for line in lines if line.strip()]
    done = {(one["task"], one["n"], one["seed"]) for one in have if one["base"] == base and "error" not in one}
    every = [(name, size, seed) for seed in asked.seeds for size in sorted(asked.sizes, reverse=True)
             for name, task in known.items() if size <= task.most_rows]  # fmt: skip
    return [one for one in every if one not in done]


def _line(task: Task, size: int, seed: int, models: Any, budget_s: float) -> dict[str, Any]:
    """The evidence, or why there is none: one bad cell must not take the others along."""
    from advisor.measuring import measured

    try:
        documents = _passages(task) if task.has_documents else None
        found = measured(
            task.train(task.rows(size, seed)), models, documents=documents, test=None, seed=seed, budget_s=budget_s,
            kind=("classification", "the rows name their answers labels") if task.labels else None,
            deadline=float("inf"), said=lambda _: None,
        )  # fmt: skip
    except Exception as error:
        print(f"{task.name} {size} failed: {error}", file=sys.stderr, flush=True)
        return {"error": f"{type(error).__name__}: {error}"[:500]}
    return {"evidence": [dataclasses.asdict(one) for one in found]}


def _passages(task: Task) -> list[Any]:
    """The task's documents, cut as the advisor cuts a folder's."""
    from adapters.embedded import encoder_folder
    from adapters.retrieval.chunks import counter, cut
    from adapters.retrieval.parsing.contract import Document, Section
    from advisor.knowledge import CHUNKING

    count = counter(encoder_folder())
    made: list[Any] = []
    for row in tasks.raw_rows(task.folder / "docs.jsonl"):
        whole = Document(row["text"], (Section(row.get("title", ""), 0, len(row["text"])),))
        made += cut(whole, CHUNKING, count)
    return made


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "sentence-transformers")} | {
        "python": platform.python_version()
    }
