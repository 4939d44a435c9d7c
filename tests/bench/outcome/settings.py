"""Outcomes and features, files of lines, as the settings that figures are fitted on: a task of a base, so many rows, a seed.

Whatever is missing is left out: arms, seeds, sizes, whole tasks of one of the files. Knows no figures.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from adapters.evaluation.metrics import METRICS
from advisor.evidence import Evidence, Found, by_name
from advisor.predicting.fitting import Setting
from advisor.ranking import known

METHOD = {"zero_shot_choices": "zero_shot", "knn": "knn_few_shot"}
"""Arms that are called otherwise among methods; of several arms that are one method, the better counts."""
NO_METHOD = ("oracle",)
COUNTED = ("usable_rows", "examples_per_class", "fewest_per_class")
"""Evidence that goes with the number of rows."""
STANDS_FOR = {
    "zero_shot": "zero_shot_score", "zero_shot_choices": "zero_shot_choices_score", "few_shot": "few_shot_score",
    "knn": "knn_shot_score", "head": "linear_probe_cv_score", "rag": "retrieved_score", "oracle": "oracle_score",
}  # fmt: skip
"""What an arm's own score stands for where a task has no line of features."""

Key = tuple[str, str]
Lines = Sequence[dict[str, Any]]


def read(file: Path) -> list[dict[str, Any]]:
    """Lines without those that tell of a failure; a line that was cut off while it was written is passed over."""
    made = []
    for text in file.read_text().splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if "error" not in line:
            made.append(line)
    return made


def settings(outcomes: Lines, features: Lines) -> list[Setting]:
    """A setting for each task, base, size and seed in the outcomes."""
    arms: dict[Key, dict[tuple[int, int], dict[str, dict[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    for line in outcomes:
        arms[line["task"], line["base"]][line["n"], line["seed"]][line["arm"]] = line
    looked: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for line in features:
        looked[line["task"], line["base"]].append(line)
    made = []
    for (task, base), cells in sorted(arms.items()):
        without_rows = {name: line for (n, _), some in cells.items() if n == 0 for name, line in some.items()}
        for (n, seed), some in sorted(cells.items()):
            if n:
                whole = without_rows | some
                found = _found(looked.get((task, base), []), whole, n, seed)
                made.append(Setting(task, n, seed, found, _scores(whole), base))
    return made


def has_features(settings: Iterable[Setting]) -> bool:
    """Whether any was looked at, so that what was measured and what came of it are two things."""
    return any("dataset_tokens" in one.found for one in settings)


def _scores(arms: dict[str, dict[str, Any]]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for name, line in arms.items():
        method = METHOD.get(name, name)
        if name not in NO_METHOD:
            scores[method] = max(scores.get(method, 0.0), float(line["score"]))
    return scores


def _found(looked: Lines, arms: dict[str, dict[str, Any]], n: int, seed: int) -> Found:
    """What was measured on these very rows; else on as many of another seed, else on the next fewer, else what the arms say."""
    fitting = sorted((line for line in looked if line["n"] <= n), key=lambda line: (line["n"], line["seed"] == seed))
    rows = Evidence("n_examples", n, "rows", "the setting")
    if not fitting:
        return by_name([*_from_arms(arms), rows])
    line = fitting[-1]
    evidence = [Evidence(**(one | {"interval": None if one.get("interval") is None else tuple(one["interval"])}))
                for one in line["evidence"]]  # fmt: skip
    metric = next(iter(arms.values()))["metric"]
    found = by_name([one for one in evidence if not _is_of_other_metric(one, metric)])
    if "zero_shot_score" not in found and "zero_shot_choices_score" not in found:
        found.pop("base_score", None)  # which is one of them
    if line["n"] != n:
        found = {name: one for name, one in found.items() if name not in COUNTED}
    return known(found | {"n_examples": rows}, None)


def _is_of_other_metric(evidence: Evidence, metric: str) -> bool:
    """A task may be judged by another metric than the advisor takes from its answers; then that score says nothing here."""
    named = evidence.how.split(":")[0].split(" ")[0]
    return named in METRICS and named != metric


def _from_arms(arms: dict[str, dict[str, Any]]) -> list[Evidence]:
    made = []
    for name, evidence in STANDS_FOR.items():
        if name in arms:
            line = arms[name]
            made.append(Evidence(evidence, line["score"], "share", f"the arm {name} itself", line["n_test"]))
    scores = [one for one in made if one.name.startswith("zero_shot")]
    if scores:
        best = max(scores, key=lambda one: float(one.value or 0.0))
        made.append(Evidence("base_score", best.value, "share", "the better of both", best.n))
    is_labelled = "zero_shot_choices" in arms or "head" in arms
    any_line = next(iter(arms.values()))
    words = 3.0 if any_line["metric"] == "exact_match" else 30.0
    made.append(Evidence("task_type", "classification" if is_labelled else "generation", "", "which arms were played"))
    return [*made, Evidence("answer_words", words, "words", f"a guess by the metric, {any_line['metric']}")]
