"""What documents are worth to a base: `rag` as a whole run on a task's rows and documents, and its triad as a table.

The task is a folder with train.jsonl (`prompt`, `completion`) and docs.jsonl. With `--folder` the run stays there, and the same
command goes on with it after it was ended; `--within` ends it after so many seconds. Uses a GPU where there is one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapters import bases
from adapters.errors import Interrupted
from adapters.tuning import recipe as recipes
from adapters.tuning.request import RunRequest, create, in_folder
from adapters.tuning.run import execute

CACHE = Path.home() / ".cache" / "graft"
ARMS = ("closed_book", "oracle_passage", "retrieved_passages", "random_passages")
DISTANCES = ("headroom", "gain", "retrieval_loss", "any_text", "residual")


def main(flags: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench triad")
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--base", default="smollm2", help="smollm2, gemma3-270m, or a folder")
    parser.add_argument("--method", default="rag", choices=("rag", "rag+lora"))
    parser.add_argument("--rows", type=int, default=300, help="of the task's training rows, over all parts (%(default)s)")
    parser.add_argument("--asked", type=int, default=64, help="rows each arm is asked, at most (%(default)s)")
    parser.add_argument("--system", help="text that stands above every question")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--within", type=float, help="seconds after which it stops, to be started again")
    asked = parser.parse_args(flags)
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch) / "run"
        if not folder.is_dir():
            _create(folder, asked, Path(scratch))
        stop = threading.Event()
        if asked.within:
            timer = threading.Timer(asked.within, stop.set)
            timer.daemon = True
            timer.start()
        try:
            result = execute(folder, stop, lambda stage: print(f"  {stage}", flush=True))
        except Interrupted as ended:
            print(ended.message)
            return
        _print(result.scorecard, result.seconds)


def _create(folder: Path, asked: argparse.Namespace, scratch: Path) -> None:
    from adapters.prompts import PromptTemplate

    rows = [json.loads(line) for line in (asked.task / "train.jsonl").read_text().splitlines()]
    random.Random(0).shuffle(rows)
    data = scratch / "rows.jsonl"
    said = ({"prompt": row["prompt"], "completion": row["completion"]} for row in rows[: asked.rows])
    data.write_text("".join(json.dumps(row) + "\n" for row in said))
    base = bases.locate(asked.base, CACHE)
    recipe = dataclasses.replace(
        recipes.defaults(asked.method, asked.rows, bases.facts(base.folder)), fitting_rows=asked.asked, scored_rows=asked.asked,
        validation_share=0.25,
    )  # fmt: skip
    request = RunRequest(
        "triad", base.name, base.folder, scratch / "models", recipe, PromptTemplate(asked.system) if asked.system else None,
        store="vs_bench",
    )  # fmt: skip
    if asked.folder:
        request = dataclasses.replace(request, registry=asked.folder.with_name(f"{asked.folder.name}-models"))
    create(folder, request, data, documents=in_folder(asked.task / "docs.jsonl"))


def _print(card: dict[str, Any], seconds: dict[str, float]) -> None:
    found = card["fitted"]
    print(f"answers in the documents: {_number(found['answers_in_documents'])} of {found['answers_in_documents']['n']} rows")
    print(f"{'tokens':>8} {'words':>6} {'recall@1':>24} {'@3':>24} {'@5':>24}")
    for one in found["recall"]:
        mark = "*" if one["chosen"] else ""
        recall = " ".join(f"{_number(one['recall'][depth]):>24}" for depth in ("1", "3", "5"))
        print(f"{one['max_tokens']:>7}{mark:1} {one['lexical_weight']:>6} {recall}")
    for one in found["passages"].get("candidates", ()):
        print(f"{one['passages']} passages: {one['mean']:.3f} on {one['n']} rows, {one['prompt_tokens']:.0f} tokens a question")
    threshold, triad = found["threshold"], found["triad"]
    print(f"shown: {found['passages']['chosen']}, score from {threshold['min_score']} on (could be {threshold['highest']}); "
          f"silences {_number(threshold['other_questions_silenced'])} of other questions")  # fmt: skip
    print(f"triad on {triad['n']} rows ({triad['metric']}); {triad['without_answer']} more have no answer in the documents")
    for arm in ARMS:
        print(f"  {arm.replace('_', ' '):20} {_number(triad[arm])}  held {_number(triad[arm]['answer_held'])}  "
              f"{triad[arm]['prompt_tokens']:.0f} tokens")  # fmt: skip
    for distance in DISTANCES:
        print(f"  {distance.replace('_', ' '):20} {_number(triad[distance])}")
    if nats := triad.get("nats_per_token"):
        arms = ", ".join(f"{arm.replace('_', ' ')} {nats[arm]:.3f}" for arm in ARMS)
        print(f"  nats a token of the wanted answers: {arms}")
        for distance in DISTANCES[:-1]:
            print(f"    {distance.replace('_', ' '):18} {_number(nats[distance])}")
    print(f"held out, {card['n']} rows ({card['metric']}): base {_number(card['base'])}, adapted {_number(card['adapted'])}, "
          f"difference {_number(card['difference'])}; {card['reason']}")  # fmt: skip
    print(f"seconds: {seconds}")


def _number(said: dict[str, Any]) -> str:
    low, high = said["interval"]
    return f"{said['mean']:.3f} [{low:.3f}, {high:.3f}]"
