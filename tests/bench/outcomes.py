"""Which method scores what, from how many rows, on which task: the table that advice is judged on.

`prepare` decides once what every arm shares (rows, vectors, passages found) and needs the sentence encoder; `run` plays cells
(task, base, arm, rows, seed) and appends a line of JSON for each, with every item's score. Started again it goes on where it
was. `--tasks` is a folder of folders, each with train.jsonl, test.jsonl (`prompt`, `completion`, perhaps `label`, `doc_ids`),
task.json and perhaps docs.jsonl. `outcome/` does the work.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.outcome import cells, tasks
from tests.bench.outcome.cells import ARMS, SIZES, Asked, Cell
from tests.bench.outcome.tasks import Task

SLACK = 1.3
"""A cell is begun only if so many times what it should take is left."""


def main(flags: Sequence[str] = ()) -> None:
    asked = _flags(flags)
    if asked.step == "prepare":
        _prepare(asked)
    elif asked.workers > 1:
        _start_workers(asked, list(flags))
    else:
        _run(asked, list(flags))


def _flags(flags: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench outcomes", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    prepare, run = steps.add_parser("prepare"), steps.add_parser("run")
    for step in (prepare, run):
        step.add_argument("--tasks", type=Path, required=True, help="folder of tasks")
        step.add_argument("--only", type=_words, default=[], help="tasks, with commas between them")
    prepare.add_argument("--out", type=Path, required=True, help="folder for the material")
    prepare.add_argument("--test-rows", type=int, default=200)
    run.add_argument("--material", type=Path, required=True, help="what `prepare` made")
    run.add_argument("--base", required=True, help="a folder, a hub id or an embedded base")
    run.add_argument("--out", type=Path, required=True, help="file of lines, added to")
    run.add_argument("--sizes", type=_numbers, default=list(SIZES))
    run.add_argument("--seeds", type=_numbers, default=[0, 1, 2])
    run.add_argument("--arms", type=_words, default=list(ARMS))
    run.add_argument("--shard", default="0/1", help="i/k: every k-th cell, for several machines")
    run.add_argument("--limit-s", type=float, default=float("inf"), help="begin nothing that would end later")
    run.add_argument("--workers", type=int, default=1, help="processes side by side on one GPU")
    run.add_argument("--no-graphs", action="store_true", help="no CUDA graphs")
    run.add_argument("--claims", type=Path, help=argparse.SUPPRESS)
    run.add_argument("--command", default="", help=argparse.SUPPRESS)
    return parser.parse_args(list(flags))


def _words(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _prepare(asked: argparse.Namespace) -> None:
    from adapters.embedded import encoder_folder
    from adapters.retrieval.encoder import Encoder
    from tests.bench.outcome.preparing import prepare

    encoder = Encoder(encoder_folder(tasks.ENCODER))
    for name in tasks.names(asked.tasks, asked.only):
        if (asked.out / name / tasks.MATERIAL).is_file():
            continue
        began = time.monotonic()
        said = prepare(asked.tasks / name, asked.out / name, encoder, test_rows=asked.test_rows)
        print(f"{name}: {json.dumps(said)} in {time.monotonic() - began:.0f} s", flush=True)


def _start_workers(asked: argparse.Namespace, flags: list[str]) -> None:
    """Each takes the next cell that nobody has; one that breaks down is started once more, without graphs."""
    import torch

    began, threads = time.monotonic(), {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    devices = f"{torch.cuda.device_count()} GPUs" if torch.cuda.is_available() else "no GPU"
    print(f"{asked.workers} workers, {devices}", flush=True)
    with tempfile.TemporaryDirectory() as claims:
        command = f"python -m tests.bench outcomes {shlex.join(flags)}"
        line = [sys.executable, "-m", "tests.bench", "outcomes", *flags, "--workers", "1", "--claims", claims]
        line += ["--command", command]
        started = {number: subprocess.Popen(line, env=os.environ | threads) for number in range(asked.workers)}
        for worker in list(started.values()):
            broke = worker.wait()
            left_s = asked.limit_s - (time.monotonic() - began)
            if broke and left_s > 0:
                again = [*line, "--no-graphs"] + (["--limit-s", str(left_s)] if left_s < float("inf") else [])
                print(f"a worker broke down ({broke}); once more without graphs", flush=True)
                started[len(started)] = subprocess.Popen(again, env=os.environ | threads)
        for worker in started.values():
            worker.wait()
    lines = asked.out.read_text().splitlines() if asked.out.is_file() else []
    print(f"{len(lines)} lines in {asked.out} after {time.monotonic() - began:.0f} s", flush=True)


def _run(asked: argparse.Namespace, flags: list[str]) -> None:
    began = time.monotonic()
    import torch

    from adapters import bases
    from tests.bench.outcome.answering import open_base

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    folder = Path(asked.base)
    if not (folder / "config.json").is_file():
        from gateway import settings

        folder = bases.locate(asked.base, settings.load().storage_cache).folder
    known = {name: Task(name, asked.tasks / name, asked.material / name) for name in tasks.names(asked.tasks, asked.only)}
    base = open_base(bases.default_name(folder.name), folder, graphs=not asked.no_graphs)
    gc.freeze()  # what is loaded stays, and need not be looked through again
    same = {
        "versions": _versions(), "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "graphs": base.graphs, "command": asked.command or f"python -m tests.bench outcomes {shlex.join(flags)}",
    }  # fmt: skip
    spent = guessed = 0.0
    for cell in _wanted(asked, known, base.name):
        expected = cell.guess_s * (spent / guessed if guessed else 1.0)
        if time.monotonic() - began + SLACK * expected > asked.limit_s or (asked.claims and not cells.take(asked.claims, cell)):
            continue
        start = time.monotonic()
        line = _line(cell, known[cell.task], base)
        took = time.monotonic() - start
        spent, guessed = spent + took, guessed + cell.guess_s
        cells.append(asked.out, line | same | {"cell_s": round(took, 2)})
        print(f"{cell.name}: {line.get('score', line.get('error'))} in {took:.1f} s", flush=True)


def _wanted(asked: argparse.Namespace, known: dict[str, Task], base: str) -> list[Cell]:
    part = Asked(asked.sizes, asked.seeds, asked.arms)
    every: list[Cell] = []
    for name, task in known.items():
        have = [what for what, there in (("labels", task.labels), ("documents", task.has_documents)) if there]
        every += cells.of_task(name, have, task.most_rows, part)
    index, count = map(int, asked.shard.split("/"))
    done = cells.done(asked.out, base)
    return [cell for cell in cells.in_order(every)[index::count] if cell not in done]


def _line(cell: Cell, task: Task, base: Any) -> dict[str, Any]:
    """The cell's line, or why there is none: one bad cell must not take the others along."""
    import torch

    from tests.bench.outcome.arms import play

    try:
        return play(cell, task, base)
    except Exception as error:
        print(f"{cell.name} failed: {error}", file=sys.stderr, flush=True)
        said = f"{type(error).__name__}: {error}"[:500]
        return {"task": cell.task, "base": base.name, "arm": cell.arm, "n": cell.n, "seed": cell.seed, "error": said}
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "peft", "accelerate")} | {
        "python": platform.python_version()
    }
