"""A run goes from a data file to a draft, and a kill at any moment loses nothing."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adapters.__main__ import TRY_AGAIN, main
from adapters.errors import Conflict, InvalidInput, NotFound, Unservable
from adapters.evaluation.probe import from_json, judge
from adapters.prompts import PromptTemplate
from adapters.registry import WEIGHTS, Registry
from adapters.tuning import run
from adapters.tuning.making import ADAPTER, BEST_STEP, place
from adapters.tuning.progress import METRICS_FILE
from adapters.tuning.recipe import Recipe
from adapters.tuning.request import RunRequest, create, read_request
from tests import tiny as small

RECIPE = Recipe("lora", epochs=4, learning_rate=0.01, rank=4, alpha=8, micro_batch_size=4, checkpoint_every_s=0.0)


@pytest.fixture
def request_(tmp_path: Path, tiny: Path) -> RunRequest:
    return RunRequest("routing", "tiny", tiny, tmp_path / "models", RECIPE, PromptTemplate("Name the team."))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return small.write_pairs(tmp_path / "tickets.jsonl", 60)


def events(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]


def stages(folder: Path) -> list[str]:
    return [event["stage"] for event in events(folder) if event["event"] == "stage"]


def weights(folder: Path) -> bytes:
    return (place(folder, BEST_STEP) / ADAPTER / WEIGHTS).read_bytes()


def test_a_run_ends_with_a_draft_that_is_better_and_says_where_it_came_from(tmp_path: Path, request_, data: Path) -> None:
    create(tmp_path / "run", request_, data)
    result = run.execute(tmp_path / "run")
    assert stages(tmp_path / "run") == ["read", "fit", "baseline", "training", "scorecard", "check", "draft"]
    assert result.better
    assert result.scorecard["n"] == 12
    assert result.scorecard["adapted"]["mean"] > result.scorecard["base"]["mean"]
    draft = Registry(tmp_path / "models").read("routing", result.digest12)
    assert draft.adapter is not None
    assert (draft.base, draft.adapter.rank, draft.prompt) == ("tiny", 4, request_.template)
    assert (draft.lineage.method, draft.lineage.run) == ("lora", "run")
    assert draft.lineage.scorecard == result.scorecard
    assert set(result.seconds) == set(stages(tmp_path / "run"))


def test_a_run_leaves_the_probe_that_an_engine_must_pass_beside_its_draft(tmp_path: Path, request_, data: Path) -> None:
    create(tmp_path / "run", request_, data)
    registry = Registry(tmp_path / "models")
    draft = registry.read("routing", run.execute(tmp_path / "run").digest12)
    raw = registry.probe(draft)
    assert raw is not None
    probe = from_json(raw)
    (said,) = (event for event in events(tmp_path / "run") if event["event"] == "probe")
    assert said["rows"] == len(probe.rows) == 4
    assert said["shift_nats"] == round(probe.shift, 2) > 0.3
    assert judge(probe, [row.adapted for row in probe.rows]).passed
    assert not judge(probe, [row.base for row in probe.rows]).passed


def test_a_run_that_changed_nothing_measurable_ends_without_a_draft_and_says_so(tmp_path: Path, request_, data: Path) -> None:
    request = dataclasses.replace(request_, recipe=dataclasses.replace(RECIPE, epochs=1, learning_rate=1e-8))
    create(tmp_path / "run", request, data)
    with pytest.raises(Unservable, match="no measurable effect"):
        run.execute(tmp_path / "run")
    assert json.loads((tmp_path / "run" / run.FAILURE).read_text())["code"] == "adapter_does_nothing"
    assert Registry(tmp_path / "models").names() == []


def test_a_finished_run_is_read_not_repeated(tmp_path: Path, request_, data: Path) -> None:
    request = dataclasses.replace(request_, recipe=dataclasses.replace(RECIPE, method="zero_shot"))
    create(tmp_path / "run", request, data)
    result = run.execute(tmp_path / "run")
    seen = events(tmp_path / "run")
    assert run.execute(tmp_path / "run") == result
    assert events(tmp_path / "run") == seen


def test_few_shot_makes_a_draft_of_a_prompt_alone(tmp_path: Path, request_, data: Path) -> None:
    request = dataclasses.replace(request_, recipe=Recipe("few_shot", shots=4))
    create(tmp_path / "run", request, data)
    draft = Registry(tmp_path / "models").read("routing", run.execute(tmp_path / "run").digest12)
    assert draft.adapter is None
    assert draft.prompt is not None
    assert {shot.assistant for shot in draft.prompt.shots} == set(small.TOPICS)
    assert "training" not in stages(tmp_path / "run")


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "adapters", "run", str(folder)], stdout=subprocess.DEVNULL)


def wait_for(folder: Path, process: subprocess.Popen[bytes], happened) -> None:
    deadline = time.monotonic() + 120
    while not ((folder / METRICS_FILE).exists() and any(map(happened, complete_events(folder)))):
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def complete_events(folder: Path) -> list[dict]:
    lines = (folder / METRICS_FILE).read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def test_killed_in_the_middle_it_ends_with_the_very_same_weights(tmp_path: Path, request_, data: Path) -> None:
    create(tmp_path / "straight", request_, data)
    straight = run.execute(tmp_path / "straight")
    create(tmp_path / "killed", request_, data)
    process = start(tmp_path / "killed")
    try:
        wait_for(tmp_path / "killed", process, lambda event: event["event"] == "step" and event["step"] >= 8)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    baseline = (tmp_path / "killed" / run.BASELINE).stat().st_mtime_ns
    result = run.execute(tmp_path / "killed")
    resumed = [event["step"] for event in events(tmp_path / "killed") if event["event"] == "training"]
    assert resumed[0] == 0 < resumed[1]
    assert (tmp_path / "killed" / run.BASELINE).stat().st_mtime_ns == baseline
    assert weights(tmp_path / "killed") == weights(tmp_path / "straight")
    assert result.digest12 == straight.digest12


def test_asked_to_stop_it_writes_a_checkpoint_and_exits_to_be_started_again(tmp_path: Path, request_, data: Path) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=100, learning_rate=1e-4, early_stop_patience=100, checkpoint_every_s=3600.0)
    create(tmp_path / "run", dataclasses.replace(request_, recipe=recipe), data)
    process = start(tmp_path / "run")
    try:
        wait_for(tmp_path / "run", process, lambda event: event["event"] == "step")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == TRY_AGAIN
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()
    assert not (tmp_path / "run" / run.FAILURE).exists()


def test_two_processes_never_work_on_one_run(tmp_path: Path, request_, data: Path) -> None:
    create(tmp_path / "run", request_, data)
    with (tmp_path / "run" / run.LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="another process"):
            run.execute(tmp_path / "run")


def test_a_failure_is_left_in_the_folder(tmp_path: Path, request_) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a"}\n')
    create(tmp_path / "run", request_, bad)
    with pytest.raises(InvalidInput):
        run.execute(tmp_path / "run")
    failure = json.loads((tmp_path / "run" / run.FAILURE).read_text())
    assert failure["code"] == "invalid_data"
    assert failure["message"].startswith("bad.jsonl, line 1, field 'completion'")


def test_rows_that_are_all_too_long_stop_the_run_before_it_loads_a_model(tmp_path: Path, request_, data: Path) -> None:
    request = dataclasses.replace(request_, recipe=dataclasses.replace(RECIPE, max_length=16))
    create(tmp_path / "run", request, data)
    with pytest.raises(InvalidInput, match="longer than 16 tokens"):
        run.execute(tmp_path / "run")
    assert "baseline" not in stages(tmp_path / "run")


def test_a_request_survives_the_folder_and_bad_ones_make_none(tmp_path: Path, request_, data: Path) -> None:
    written = create(tmp_path / "run", request_, data)
    assert read_request(tmp_path / "run") == written
    with pytest.raises(Conflict, match="already"):
        create(tmp_path / "run", request_, data)
    for bad in (
        dataclasses.replace(request_, name="No Good"),
        dataclasses.replace(request_, base_folder=tmp_path),
        dataclasses.replace(request_, recipe=dataclasses.replace(RECIPE, method="magic")),
        dataclasses.replace(request_, recipe=dataclasses.replace(RECIPE, rank=128)),
    ):
        with pytest.raises(InvalidInput):
            create(tmp_path / "other", bad, data)
    assert sorted(os.listdir(tmp_path)) == ["run", "tickets.jsonl"]
    with pytest.raises(NotFound):
        read_request(tmp_path / "other")


def test_data_that_was_changed_after_creation_is_noticed(tmp_path: Path, request_, data: Path) -> None:
    create(tmp_path / "run", request_, data)
    (tmp_path / "run" / "data.jsonl").write_text("{}")
    with pytest.raises(Conflict, match="not what the run was created with"):
        run.execute(tmp_path / "run")


def test_the_command_line_tunes_and_checks_with_no_gateway(tmp_path: Path, tiny: Path, data: Path, capsys) -> None:
    argv = [
        "tune",
        str(data),
        "--base",
        str(tiny),
        "--name",
        "bot",
        "--registry",
        str(tmp_path / "m"),
        "--runs",
        str(tmp_path / "r"),
    ]
    assert main([*argv, "--epochs", "3", "--rank", "4", "--learning-rate", "0.01"]) == 0
    assert "training" in capsys.readouterr().out
    (adapter,) = (tmp_path / "m" / "bot").glob("*/adapter")
    assert main(["check", str(adapter), "--base", str(tiny)]) == 0
    assert main(["check", str(adapter), "--base", str(tiny), "--max-rank", "2"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_line_says_errors_in_one_line(tmp_path: Path, tiny: Path, capsys) -> None:
    assert main(["run", str(tmp_path / "nothing")]) == 1
    assert "is no run" in capsys.readouterr().err
    with pytest.raises(SystemExit) as usage:
        main(["tune"])
    assert usage.value.code == 2
