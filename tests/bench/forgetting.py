"""What tuning makes a base forget, and what lessens it: one task learned in several ways, full tuning at a high rate first.

`--data FILE` takes any file that `graft tune` takes, and its first `--rows` rows; without it, the example tickets. Each way
is a whole run of its own, scorecard included, in a process of its own: about four minutes each on two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HIGH_RATE = 5e-4
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "full, high rate": ("full", {"learning_rate": HIGH_RATE, "early_stop_patience": 100}),
    "full, a tenth of the rate": ("full", {"learning_rate": HIGH_RATE / 10, "early_stop_patience": 100}),
    "full, early stop": ("full", {"learning_rate": HIGH_RATE, "early_stop_patience": 1}),
    "full, 30 % replay": ("full", {"learning_rate": HIGH_RATE, "early_stop_patience": 100, "replay_share": 0.3}),
    "LoRA, rank 16": ("lora", {"early_stop_patience": 100}),
    "LoRA, mlp only, rank 8": ("lora", {"early_stop_patience": 100, "targets": "mlp", "rank": 8, "alpha": 16}),
    "full, budget 0.2": ("full", {"learning_rate": HIGH_RATE, "early_stop_patience": 100, "forgetting_budget": 0.2}),
}
"""The first is what the others are measured against."""


def main(flags: Sequence[str] = ()) -> None:
    from gateway.cli.tour import EXAMPLE

    parser = argparse.ArgumentParser(prog="python -m tests.bench forgetting")
    parser.add_argument("--data", type=Path, default=EXAMPLE)
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--only", nargs="*", default=list(WAYS), choices=list(WAYS), metavar="WAY")
    parser.add_argument("--keep", type=Path, help="folder for the runs; those that are there already are not done again")
    asked = parser.parse_args(flags)
    with tempfile.TemporaryDirectory() as scratch:
        place = asked.keep or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        data = place / f"rows{asked.data.suffix}"
        data.write_text("".join(asked.data.read_text().splitlines(keepends=True)[: asked.rows]))
        told = {way: _run(place, way, data, asked.epochs) for way in asked.only}
    _table(told)


def _run(place: Path, way: str, data: Path, epochs: int) -> dict[str, Any]:
    """What the run says at its end, with the rise of loss after each of its epochs."""
    from adapters import bases
    from adapters.data.dataset import open_dataset
    from adapters.tuning.recipe import defaults
    from adapters.tuning.request import RunRequest, create
    from gateway import settings

    folder = place / "".join(letter if letter.isalnum() else "-" for letter in way)
    if not folder.exists():
        method, knobs = WAYS[way]
        base = bases.locate("smollm2", settings.load().storage_cache)
        recipe = defaults(method, len(open_dataset(data).examples), bases.facts(base.folder))
        recipe = dataclasses.replace(recipe, epochs=epochs, **knobs)
        create(folder, RunRequest("measured", base.name, base.folder, place / "models", recipe), data)
    ended = subprocess.run([sys.executable, "-m", "adapters", "run", str(folder)], capture_output=True, text=True)
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    curve = {event["epoch"]: event["forgetting_nats"] for event in events if event["event"] == "validation"}
    if ended.returncode:
        said = ended.stderr.strip().splitlines()[-1]
        print(f"{way}: {said}", flush=True)
        return {"curve": curve, "said": said}
    result: dict[str, Any] = json.loads((folder / "result.json").read_bytes())
    print(f"{way}: {sum(result['seconds'].values()):.0f} s", flush=True)
    return result | {"curve": curve}


def _table(told: dict[str, dict[str, Any]]) -> None:
    print("\n| way | task score (base) | rise on the base's words, nats/token | questions right (base) | by epoch |")
    print("|---|---|---|---|---|")
    for way, result in told.items():
        curve = " ".join(f"{rise:.2f}" for _, rise in sorted(result["curve"].items()))
        if "scorecard" not in result:
            print(f"| {way} | {result['said']} | | | {curve} |")
            continue
        card = result["scorecard"]
        lost = card["forgetting"]
        low, high = lost["interval"]
        print(
            f"| {way} | {card['adapted']['mean']:.2f} ({card['base']['mean']:.2f}) "
            f"| {lost['nats_per_token']:+.2f} [{low:+.2f}, {high:+.2f}] "
            f"| {lost['questions']['after']:.2f} ({lost['questions']['before']:.2f}) | {curve} |"
        )
