"""Figures out of outcomes: in an invented world the fit finds what is there, says how far off it is, and survives gaps."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from advisor.predicting import calibration, figures, fitting, regression
from advisor.predicting.contract import logit
from advisor.predicting.features import Seen, seen
from advisor.predicting.figures import outcomes_from
from advisor.predicting.fitting import Setting
from tests.advisor import invented
from tests.bench import advisor_fit
from tests.bench.outcome import settings as reading

WORLD = invented.tasks(12)
OUTCOMES, FEATURES = invented.outcomes(WORLD), invented.features(WORLD)


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return advisor_fit.fitted(reading.settings(OUTCOMES, FEATURES), "an invented world")


def shuffled(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every task's measurements are another's, of the same kind."""
    to: dict[str, str] = {}
    for kind in ("classification", "generation"):
        names = [one.name for one in WORLD if one.kind == kind]
        to |= dict(zip(names, names[1:] + names[:1], strict=True))
    return [line | {"task": to[line["task"]]} for line in lines]


def test_every_method_with_enough_tasks_gets_figures(made: dict[str, Any]) -> None:
    assert set(made["arms"]) == {"zero_shot", "few_shot", "knn_few_shot", "many_shot", "head", "lora", "full"}
    assert all(one["tasks"] >= fitting.FEWEST_TASKS for one in made["arms"].values())
    assert made["arms"]["head"]["tasks"] == sum(one.kind == "classification" for one in WORLD)


def test_what_decides_in_the_world_decides_in_the_figures(made: dict[str, Any]) -> None:
    whole = outcomes_from(made)
    lora, shots = whole.arms["lora"], whole.arms["few_shot"]
    rows = Seen(8.0, 0.0)
    assert 0.2 < regression.pull(lora, {"rows": rows}, "rows") < 0.5, "0.35 logits a doubling on average"
    assert regression.pull(shots, {"rows": rows}, "rows") < 0.1, "the same eight shots, however many rows there are"
    assert regression.pull(shots, {"zero": Seen(0.0, 0.1)}, "zero") > 0.5


def test_errors_are_told_of_tasks_that_were_left_out(made: dict[str, Any]) -> None:
    said = made["left_out"]
    assert said["tasks"] == len(WORLD)
    assert 0.85 <= said["coverage_of_90"] <= 0.95
    assert said["log_loss"] < 0.75 * said["log_loss_of_chance"]
    assert said["regret"] < 0.05
    assert 0.05 <= made["drift"] < 0.5, "a measurement of 48 rows is off by its sampling and little more"


def test_shuffled_measurements_collapse_to_the_prior(made: dict[str, Any]) -> None:
    mixed = advisor_fit.fitted(reading.settings(OUTCOMES, shuffled(FEATURES)), "shuffled")
    asked = reading.settings(OUTCOMES, FEATURES)
    assert mixed["drift"] > 3 * made["drift"], "what was measured of a method is no longer believed"
    assert mixed["left_out"]["log_loss"] > 1.4 * made["left_out"]["log_loss"]
    for method in ("few_shot", "many_shot", "zero_shot"):
        true, false = (outcomes_from(one).arms[method] for one in (made, mixed))
        one = asked[0]
        known = {name: value for name, value in seen(one.found).items() if name in ("zero", "shots", "nearest")}
        moved = [abs(regression.forecast(arm, known, "labels").mean - arm.family_z["labels"]) for arm in (true, false)]
        assert moved[1] < 0.5 * moved[0] + 0.05, "and moves nothing else"


def test_without_features_an_arms_own_score_stands_for_what_would_be_measured() -> None:
    settings = reading.settings(OUTCOMES, [])
    assert not reading.has_features(settings)
    one = settings[0]
    assert one.found["zero_shot_score"].value == one.scores["zero_shot"]
    assert one.found["knn_shot_score"].value == one.scores["knn_few_shot"]
    made = advisor_fit.fitted(settings, "outcomes alone")
    assert made["drift"] == calibration.USUAL_DRIFT, "nothing tells how far a measurement is off"
    assert "lora" in made["arms"]


def test_arms_tasks_seeds_and_lines_may_be_missing(tmp_path: Path) -> None:
    def is_missing(line: dict[str, Any]) -> bool:
        lost = line["task"] == "task3" and line["arm"] == "lora"
        return bool(lost or line["arm"] == "full" or (line["seed"] > 0 and line["n"] > 64))

    looked = [line for line in FEATURES if line["task"] not in ("task5", "task6") and line["n"] < 256]
    files = {"outcomes": [line for line in OUTCOMES if not is_missing(line)], "features": looked}
    failed = {"task": "task1", "base": "tiny", "arm": "full", "n": 16, "seed": 0, "error": "out of memory"}
    for name, lines in files.items():
        text = "".join(json.dumps(line) + "\n" for line in [*lines, failed])
        (tmp_path / f"{name}.jsonl").write_text(text + '{"task": "cut off while it was wri')
    out = tmp_path / "made.json"
    flags = ["--outcomes", str(tmp_path / "outcomes.jsonl"), "--features", str(tmp_path / "features.jsonl"), "--out", str(out)]
    advisor_fit.main([*flags, "--leave-out", "task0"])
    raw = json.loads(out.read_text())
    files_alone = "--outcomes outcomes.jsonl --features features.jsonl --out made.json"
    assert raw["command"] == f"python -m tests.bench advisor_fit {files_alone} --leave-out task0"
    assert str(tmp_path) not in out.read_text()
    whole = outcomes_from(raw)
    assert whole.arms["lora"].tasks == len(WORLD) - 2
    assert whole.arms["full"].inflation == pytest.approx(1.5 * whole.arms["lora"].inflation), "LoRA stands in"
    assert 0 < raw["left_out"]["with_features"] < raw["left_out"]["settings"]


def test_too_few_tasks_are_said_to_be_too_few(tmp_path: Path) -> None:
    (tmp_path / "few.jsonl").write_text(
        "".join(json.dumps(one) + "\n" for one in OUTCOMES if one["task"] in ("task1", "task2"))
    )
    with pytest.raises(SystemExit, match="no method has 4 tasks"):
        advisor_fit.main(["--outcomes", str(tmp_path / "few.jsonl"), "--out", str(tmp_path / "no.json")])
    assert not (tmp_path / "no.json").exists()


def test_a_task_counts_once_however_many_cells_it_has() -> None:
    def setting(task: str, seed: int, score: float) -> Setting:
        return Setting(task, 64, seed, {}, {"lora": score})

    cells = fitting.cells_of([*(setting("often", seed, 0.9) for seed in range(20)), setting("once", 0, 0.5)])["lora"]
    assert fitting.arm("lora", cells, 1.0).family_z["short"] == pytest.approx((logit(0.9) + 0.0) / 2)


def test_a_task_is_left_out_with_all_its_bases() -> None:
    other = [line | {"base": "larger"} for line in OUTCOMES]
    settings = reading.settings(OUTCOMES + other, FEATURES)
    assert len({one.task for one in settings}) == len(WORLD)
    assert {one.base for one in settings} == {"tiny", "larger"}
    assert len({one.key for one in settings}) == len(settings)
    cells = [cell for cell in fitting.cells_of(settings)["lora"] if cell.task in ("task0", "task1", "task2", "task4", "task5")]
    errors = fitting.left_out("lora", cells, 1.0)
    assert len(errors) == len(cells)
    strange = [dataclasses.replace(cell, z=9.0) if cell.key[:2] == ("task0", "larger") else cell for cell in cells]
    changed = fitting.left_out("lora", strange, 1.0)
    same = [one.key[:2] == ("task0", "tiny") and one.error == was.error for one, was in zip(changed, errors, strict=True)]
    assert sum(same) == sum(one.key[:2] == ("task0", "tiny") for one in errors), "the other base of a task tells nothing of it"


def test_a_methods_own_measurement_is_no_feature_of_it(made: dict[str, Any]) -> None:
    assert "shots" not in made["arms"]["few_shot"]["features"]
    assert "zero" not in made["arms"]["zero_shot"]["features"]
    assert "zero" in made["arms"]["lora"]["features"]


def test_the_figures_that_are_shipped_name_what_they_were_made_from() -> None:
    for name in ("published.json", "outcomes.json"):
        raw = json.loads((figures.PRIORS / name).read_text())
        assert raw["command"].startswith("python -m tests.bench advisor_")
        assert raw["about"]
    assert figures.outcomes().made_from
    assert figures.outcomes(small=True).made_from != figures.outcomes().made_from
    assert {"lora", "full", "few_shot"} <= set(figures.outcomes().arms)
