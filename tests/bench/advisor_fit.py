"""Fits what the advisor foretells with: from outcomes (`outcomes run`) and what was measured before them (`advisor_features`)
to `advisor/priors/outcomes.json`.

Missing arms, seeds, sizes and tasks are left out and counted; without `--features` an arm's own score stands for what would
have been measured of it. Everything said of errors is of tasks that were left out.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advisor.predicting import calibration, figures, fitting
from advisor.predicting.calibration import Foretold
from advisor.predicting.fitting import Setting
from tests.bench.outcome import settings as reading

PRIORS = figures.PRIORS
ABOUT = (
    "Figures that the advisor foretells with; made by the command below, not by hand. Scores stand as logits, clipped at 0.01."
)


def main(flags: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench advisor_fit", description=__doc__)
    parser.add_argument("--outcomes", type=Path, nargs="+", required=True, help="files of lines that `outcomes run` wrote")
    parser.add_argument("--features", type=Path, nargs="*", default=[], help="files of lines that `advisor_features` wrote")
    parser.add_argument("--out", type=Path, default=PRIORS / "outcomes.json")
    parser.add_argument("--leave-out", nargs="*", default=[], help="tasks that are not to be learned from")
    asked = parser.parse_args(list(flags))
    lines = [line for file in asked.outcomes for line in reading.read(file) if line["task"] not in asked.leave_out]
    features = [line for file in asked.features if file.is_file() for line in reading.read(file)]
    settings = reading.settings(lines, features)
    made = fitted(settings, f"measured outcomes of {len({line['task'] for line in lines})} tasks")
    if not made["arms"]:
        raise SystemExit(f"nothing to fit: no method has {fitting.FEWEST_TASKS} tasks; {len(settings)} settings were read")
    command = f"python -m tests.bench advisor_fit {shlex.join(flags)}"
    written(asked.out, {"about": ABOUT, "command": _without_folders(command)} | made)
    for name, value in made["left_out"].items():
        print(f"{name:>24}  {value}")
    print(f"{asked.out}: {', '.join(made['arms'])}", flush=True)


def fitted(settings: Sequence[Setting], made_from: str) -> dict[str, Any]:
    """What stands in `outcomes.json`, with how far it was off on tasks left out."""
    raw = fitting.fit(settings, made_from)
    if not raw["arms"]:
        return raw
    raw |= {"drift": calibration.USUAL_DRIFT, "temperature": 1.0}
    if reading.has_features(settings):
        raw["optimism"] = calibration.optimism(settings)
        raw["drift"] = calibration.drift(settings, raw["optimism"])
    raw["rules"] = calibration.rules_off(settings, figures.published(), figures.outcomes_from(raw))
    whole = figures.outcomes_from(raw)
    made = list(calibration.foretold(settings, figures.published(), whole, raw["ridge"]))
    raw["reach"] = calibration.reach(made)
    made = [calibration.reaching(one, raw["reach"]) for one in made]
    raw["temperature"] = calibration.temperature(made)
    return raw | {"left_out": _left_out(settings, made, raw["temperature"])}


def _left_out(settings: Sequence[Setting], made: Sequence[Foretold], temperature: float) -> dict[str, Any]:
    said: dict[str, Any] = {
        "settings": len(settings), "tasks": len({one.task for one in settings}),
        "with_features": sum(reading.has_features([one]) for one in settings),
    }  # fmt: skip
    if not made:
        return said
    chosen = [max(one.predicted, key=lambda name, one=one: one.predicted[name].mean) for one in made]  # type: ignore[misc]
    regret = [max(one.setting.scores.values()) - one.setting.scores[name] for one, name in zip(made, chosen, strict=True)]
    errors = [one.setting.scores[name] - foretold.mean for one in made for name, foretold in one.predicted.items()]
    return said | {
        "coverage_of_90": round(calibration.coverage(made), 3),
        "mean_absolute_error": round(statistics.fmean(map(abs, errors)), 4),
        "regret": round(statistics.fmean(regret), 4),
        "best_found": round(statistics.fmean(name == one.winner for one, name in zip(made, chosen, strict=True)), 3),
        "log_loss": round(calibration.log_loss(made, temperature), 3),
        "log_loss_of_chance": round(statistics.fmean(math.log(len(one.predicted)) for one in made), 3),
    }  # fmt: skip


def written(file: Path, what: dict[str, Any]) -> None:
    """As JSON with a line for each list of numbers, so that a change can be read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_lined(what, 0) + "\n")


def _lined(what: Any, depth: int) -> str:
    if not isinstance(what, dict):
        return json.dumps(what, ensure_ascii=False)
    if not what:
        return "{}"
    inner = " " * (depth + 1)
    parts = [f"{inner}{json.dumps(str(name))}: {_lined(value, depth + 1)}" for name, value in what.items()]
    return "{\n" + ",\n".join(parts) + "\n" + " " * depth + "}"


def _without_folders(command: str) -> str:
    """What lies where on this machine is of no use to others."""
    return shlex.join(Path(word).name if "/" in word else word for word in shlex.split(command))
