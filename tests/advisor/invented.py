"""An invented world in which it is known what each method scores: lines as `outcomes run` and `advisor_features` write them.

Each task has a difficulty, a pull of its prompt and a pull of its rows; methods follow them with errors of their own.
"""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

from advisor.evidence import Evidence
from advisor.predicting.contract import sigmoid

SIZES = (16, 64, 256, 1024)
TEST_ROWS = 200
ASKED_ROWS = 48
CLASSES = 6


@dataclasses.dataclass(frozen=True)
class Task:
    name: str
    kind: str
    prompt: float
    """Logit of what the base scores when it is only asked."""
    shown: float
    """What examples add."""
    learned: float
    """What every doubling of the rows adds to tuning."""


def tasks(count: int, seed: int = 0) -> list[Task]:
    dice = random.Random(seed)
    return [
        Task(f"task{number}", "classification" if number % 3 else "generation", dice.gauss(-1.0, 1.2), dice.gauss(0.7, 0.5),
             max(0.05, dice.gauss(0.35, 0.12)))
        for number in range(count)
    ]  # fmt: skip


def logits(task: Task, n: int) -> dict[str, float]:
    """Of every arm, before luck."""
    doublings = math.log2(n / 16)
    made = {
        "zero_shot": task.prompt,
        "few_shot": task.prompt + task.shown,
        "knn": task.prompt + task.shown + 0.15 * doublings,
        "many_shot": task.prompt + task.shown + 0.08 * doublings,
        "lora": 0.5 * task.prompt - 0.3 + task.learned * doublings,
        "full": 0.5 * task.prompt - 0.5 + 1.1 * task.learned * doublings,
    }
    if task.kind == "classification":
        made["head"] = 0.4 * task.prompt + 0.2 + 0.7 * task.learned * doublings
    return made


def outcomes(world: list[Task], seeds: tuple[int, ...] = (0, 1)) -> list[dict[str, Any]]:
    dice = random.Random(1)
    lines = []
    for task in world:
        for seed in seeds:
            for n in SIZES:
                for arm, centre in logits(task, n).items():
                    if arm != "zero_shot":
                        lines.append(_line(task, arm, n, seed, _played(centre + dice.gauss(0, 0.15), TEST_ROWS, dice)))
        lines.append(_line(task, "zero_shot", 0, 0, _played(task.prompt, TEST_ROWS, dice)))
    return lines


def features(world: list[Task], seeds: tuple[int, ...] = (0,)) -> list[dict[str, Any]]:
    dice = random.Random(2)
    lines = []
    for task in world:
        for seed in seeds:
            for n in SIZES:
                found = [dataclasses.asdict(one) for one in evidence(task, n, dice)]
                lines.append({"task": task.name, "base": "tiny", "n": n, "seed": seed, "evidence": found})
    return lines


def evidence(task: Task, n: int, dice: random.Random) -> list[Evidence]:
    """What measuring would find, on few rows."""
    truth = logits(task, n)

    def score(name: str, arm: str, rows: int) -> Evidence:
        return Evidence(name, _played(truth[arm], rows, dice), "share", f"measured of {arm}", rows)

    found = [
        Evidence("n_examples", n, "rows", "counted", n), Evidence("dataset_tokens", 60 * n, "tokens", "counted", n),
        Evidence("task_type", task.kind, "", "guessed", n), score("zero_shot_score", "zero_shot", ASKED_ROWS),
        Evidence("answer_words", 1.0 if task.kind == "classification" else 30.0, "words", "median", n),
        score("few_shot_score", "few_shot", ASKED_ROWS), score("knn_shot_score", "knn", ASKED_ROWS),
    ]  # fmt: skip
    if task.kind == "classification":
        found.append(Evidence("n_classes", CLASSES, "labels", "counted", n))
        found.append(score("linear_probe_cv_score", "head", n))
    asked = next(one for one in found if one.name == "zero_shot_score")
    return [*found, dataclasses.replace(asked, name="base_score")]


def _played(centre: float, rows: int, dice: random.Random) -> float:
    p = sigmoid(centre)
    return round(sum(dice.random() < p for _ in range(rows)) / rows, 4)


def _line(task: Task, arm: str, n: int, seed: int, score: float) -> dict[str, Any]:
    metric = "exact_match" if task.kind == "classification" else "token_f1"
    return {"task": task.name, "base": "tiny", "arm": arm, "n": n, "seed": seed, "metric": metric, "score": score,
            "n_test": TEST_ROWS, "items": []}  # fmt: skip
