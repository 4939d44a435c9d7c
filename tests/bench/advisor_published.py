"""The first figures of the advisor, from published results alone, until its own outcomes are there: both files of `priors`.

`--facts` is a folder with `lora_land.csv` (scores of 10 bases before and after QLoRA: Zhao et al., 2024, arXiv 2405.00732),
`learning_curves.json` (Bertsch et al., 2024, arXiv 2405.00200; SetFit, Tunstall et al., 2022) and `casebook.jsonl` (published
comparisons, of which those of a few shots with none are used). They are summed up into levels and moments; no row is kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advisor.evidence import Evidence, by_name
from advisor.predicting import fitting
from advisor.predicting.calibration import USUAL_DRIFT
from advisor.predicting.fitting import Setting
from advisor.ranking import known
from tests.bench.advisor_fit import ABOUT, PRIORS, written

SOURCES = {
    "levels": "means over the cells of LoRA Land, 10 bases of 2 to 7 billion parameters: Zhao et al., 2024, arXiv 2405.00732",
    "start": "the order of every vendor's guide, prompts before training; soft prompts last (Lester et al., 2021)",
    "logits_per_point": "LoRA Land's mean lift, 1.6 logits, for the 2.7 points that rules give LoRA over prompting there",
    "spread": "of LoRA Land's scores after tuning within a kind of task, in logits: 0.1 to 1.6",
    "unknown_spread": "set by hand: with nothing known but the rows, intervals span most of the scale",
}
START = {
    "zero_shot": 0.0, "few_shot": 0.5, "knn_few_shot": 0.35, "many_shot": 0.0, "rag": -0.8, "head": -0.8, "prompt_tuning": -1.2,
    "lora": 0.0, "full": -0.3, "continued_pretraining": -2.5, "rag+lora": -0.6,
}  # fmt: skip
LIKE = {
    "summarization": "generation", "translation": "generation", "chat": "style", "tool_use": "extraction",
    "question_answering": "qa_closed_book", "domain_lm": "generation",
}  # fmt: skip
"""Kinds without published levels of their own, and whose they take."""
CLASSES = {"trec": 6, "trecfine": 50, "banking77": 77, "clinic150": 151, "SentEval-CR": 2, "amazon_counterfactual_en": 2,
           "emotion": 6, "sst5": 5, "enron_spam": 2, "ag_news": 4}  # fmt: skip
CURVES = {"peft_finetune": "lora", "icl_random": "many_shot", "retrieval_icl": "knn_few_shot", "linear-probe": "head"}
"""What a published curve's method is called here, by a word of its name."""
TEST_ROWS = 250
FARTHER = 2.0
"""Times the variance: what is asked about is another base and another task than those published, mostly a smaller one."""


def main(flags: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench advisor_published", description=__doc__)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=PRIORS, help="folder for published.json and outcomes.json")
    asked = parser.parse_args(list(flags))
    cells = _cells(asked.facts)
    command = f"python -m tests.bench advisor_published {shlex.join(flags)}"
    about = {"about": ABOUT, "command": "python -m tests.bench advisor_published --facts FACTS"}
    levels = about | {"start": START, "logits_per_point": 0.6, "spread": 1.1, "unknown_spread": 0.4, "levels": _levels(cells)}
    written(asked.out / "published.json", levels | {"sources": SOURCES})
    cases = [json.loads(line) for line in (asked.facts / "casebook.jsonl").read_text().splitlines()]
    settings = published_settings(asked.facts, cases)
    fitted = fitting.fit(settings, "published results")
    # curves of one paper share their tasks with nothing, so neither what methods share nor how sure they are can be told
    for arm in fitted["arms"].values():
        arm["inflation"] = round(FARTHER * arm["inflation"], 4)
    fitted |= {"shared": 0.5, "drift": USUAL_DRIFT, "temperature": 1.0, "sources": _counted(settings)}
    written(asked.out / "outcomes.json", about | fitted)
    print(f"{command}: {len(settings)} settings, arms: {', '.join(fitted['arms'])}", flush=True)


def published_settings(facts: Path, cases: Sequence[dict[str, Any]], *, without_cells: bool = False) -> list[Setting]:
    """All that forecasts are fitted on; of the casebook the `cases` given, and LoRA Land's cells unless they are left out."""
    curves = json.loads((facts / "learning_curves.json").read_text())
    return ([] if without_cells else _of_cells(_cells(facts))) + _of_curves(curves) + _of_cases(cases)


def _cells(facts: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((facts / "lora_land.csv").read_text().splitlines()))


def _levels(cells: Sequence[dict[str, str]]) -> dict[str, dict[str, float]]:
    kinds: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for cell in cells:
        pair = float(cell["zero_shot"]), float(cell["qlora"])
        kinds[cell["task_type"]].append(pair)
        kinds[""].append(pair)
    levels = {kind: {"prompted": round(statistics.fmean(a for a, _ in pairs), 3), "cells": len(pairs),
                     "tuned": round(statistics.fmean(b for _, b in pairs), 3)} for kind, pairs in kinds.items()}  # fmt: skip
    return levels | {kind: levels[like] for kind, like in LIKE.items()}


def _of_cells(cells: Sequence[dict[str, str]]) -> list[Setting]:
    """All at the median number of rows: how many a task has says nothing here (correlation with lift 0.26), and curves tell."""
    made = []
    rows = round(statistics.median(int(cell["n_train_rows"]) for cell in cells))
    for cell in cells:
        words = {"generation": 30.0, "style": 30.0, "code": 12.0}.get(cell["task_type"], 3.0)
        found = [
            Evidence("task_type", cell["task_type"], "", "published"), Evidence("answer_words", words, "words", "by kind"),
            Evidence("n_examples", rows, "rows", "median of all tasks"),
            Evidence("base_score", float(cell["zero_shot"]), "share", "published", TEST_ROWS),
        ]  # fmt: skip
        made.append(Setting(cell["task"], rows, 0, by_name(found), {"lora": float(cell["qlora"])}))
    return made


def _of_curves(curves: Sequence[dict[str, Any]]) -> list[Setting]:
    made = []
    for curve in curves:
        method = next((name for word, name in CURVES.items() if word in curve["method"]), None)
        classes = CLASSES.get(curve["dataset"])
        if method is None or classes is None:
            continue
        points = {point["n"] * (classes if "class" in curve["unit"] else 1): point["mean"] for point in curve["points"]}
        scale = 100 if max(points.values()) > 1 else 1
        few = [n for n in points if 5 <= n <= 10]
        for n, score in points.items():
            found = [
                Evidence("task_type", "classification", "", "published"), Evidence("n_examples", n, "rows", "published"),
                Evidence("n_classes", classes, "labels", "published"), Evidence("answer_words", 1.0, "words", "labels"),
            ]  # fmt: skip
            if method == "many_shot" and few:
                found.append(Evidence("few_shot_score", points[max(few)] / scale, "share", "published", TEST_ROWS))
            if n >= 16:
                made.append(Setting(curve["dataset"], n, 0, known(by_name(found), None), {method: score / scale}))
    return made


def _of_cases(cases: Sequence[dict[str, Any]]) -> list[Setting]:
    """Those that give both a score without examples and one with a few."""
    made = []
    for case in cases:
        pairs = [(next((value for name, value in case["results"].items() if name.startswith(word)), None))
                 for word in ("zero_shot", "few_shot_icl")]  # fmt: skip
        none, few = (one / 100 if isinstance(one, float | int) else None for one in pairs)
        if none is None or few is None:
            continue
        found = [
            Evidence("task_type", case["task_type"], "", "published"), Evidence("answer_words", 3.0, "words", "by kind"),
            Evidence("base_score", none, "share", "published", TEST_ROWS),
        ]  # fmt: skip
        made.append(Setting(case["id"], 0, 0, by_name(found), {"few_shot": few}))
    return made


def _counted(settings: Sequence[Setting]) -> dict[str, str]:
    return {
        "lora": "LoRA Land (Zhao et al., 2024, arXiv 2405.00732) and PEFT curves (Bertsch et al., 2024, arXiv 2405.00200)",
        "few_shot": "cases with both figures, most of GPT-3 (Brown et al., 2020, arXiv 2005.14165)",
        "full": "stands in as LoRA with half as much variance again (Schulman et al., 2025)",
        "many_shot, knn_few_shot": "curves of random and of retrieved demonstrations (Bertsch et al., 2024)",
        "head": "linear probes (SetFit's published results: Tunstall et al., 2022, arXiv 2209.11055)",
        "settings": str(len(settings)),
    }
