"""A tuning job survives everything: its process killed, its runner killed, cancelled in the middle, bad data at the door.

Real training of a tiny Llama, in the real queue, by the real runner; no engine and no gateway.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.errors import DataError, GraftError, InvalidInput
from gateway.cli.desk import Desk
from gateway.cli.tune import submit
from gateway.jobs.job import Job
from gateway.jobs.runner import log_file
from tests.flows.serving import children_of, processes_matching
from tests.tiny import tiny_llama, write_pairs

SOON_S = 120.0


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def desk(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("GRAFT_STORAGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GRAFT_BASES", json.dumps([{"name": "tiny", "model": str(base)}]))
    monkeypatch.setenv("GRAFT_JOBS_LEASE_S", "2")
    return Desk()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "rows.jsonl", 60)


@pytest.fixture
def runner() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-m", "gateway.jobs.runner"], start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait(60)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, f"after {SOON_S:.0f} s still not: {what}"
        time.sleep(0.05)  # rows and files that other processes write: there is nothing to wait on


def ended(desk: Desk, job: Job) -> Job:
    until(lambda: desk.jobs.get(job.id).is_final, f"{job.id} has ended")
    return desk.jobs.get(job.id)


def steps(job: Job) -> int:
    """The last training step that the run has reported."""
    metrics = Path(job.payload["run"]) / "metrics.jsonl"
    events = (
        [json.loads(line) for line in metrics.read_text().splitlines(keepends=True) if line.endswith("\n")]
        if metrics.exists()
        else []
    )
    return max((event["step"] for event in events if event["event"] == "step"), default=0)


def long_job(desk: Desk, data: Path, name: str = "bot") -> Job:
    return submit(
        desk, data, name, knobs={"epochs": 100, "early_stop_patience": 100, "checkpoint_every_s": 0.5}, publish="always"
    )


def test_a_job_trains_and_its_version_waits_for_a_gateway_to_prove_it(
    desk: Desk, data: Path, runner: Callable[[], object]
) -> None:
    job = submit(desk, data, "bot", knobs={"epochs": 2}, publish="always")
    runner()
    done = ended(desk, job)
    assert done.state == "succeeded", log_file(desk.settings, job.id).read_text()
    assert done.result is not None
    assert (done.result["published"], done.result["version"]) == (False, 1)
    assert "when a gateway runs and has proven it" in done.result["reason"]
    pointer = desk.names.pointer("bot")
    assert pointer is not None
    assert (pointer.version, pointer.wanted) == (None, 1)
    assert desk.registry.probe(desk.registry.load("bot", 1)) is not None
    model = desk.registry.load("bot", 1)
    assert model.lineage.run == job.id
    assert model.lineage.scorecard == done.result["scorecard"]
    assert (desk.registry.adapter_folder(model) / "adapter_model.safetensors").is_file()


def test_few_shot_is_made_published_and_carries_its_shots(desk: Desk, data: Path, runner: Callable[[], object]) -> None:
    job = submit(desk, data, "shots", method="few_shot", knobs={"shots": 3}, publish="always")
    runner()
    done = ended(desk, job)
    assert done.state == "succeeded", log_file(desk.settings, job.id).read_text()
    model = desk.registry.load("shots", 1)
    assert model.adapter is None
    assert model.prompt is not None
    assert len(model.prompt.shots) == 3
    assert model.engine_name == "tiny"


def test_a_killed_tuner_goes_on_from_its_checkpoint(
    desk: Desk, data: Path, runner: Callable[[], subprocess.Popen[bytes]]
) -> None:
    job = long_job(desk, data)
    runner_process = runner()
    until(lambda: steps(job) > 20, "twenty steps were trained")
    tuner = processes_matching("adapters run", runner_process.pid)
    assert len(tuner) == 1
    os.kill(tuner[0], signal.SIGKILL)
    done = ended(desk, job)
    assert done.state == "succeeded", log_file(desk.settings, job.id).read_text()
    said = [event.message for event in desk.jobs.events(job.id)]
    assert any("SIGKILL" in message for message in said)
    reported = [json.loads(line) for line in (Path(job.payload["run"]) / "metrics.jsonl").read_text().splitlines()]
    first_steps = [event for event in reported if event["event"] == "step" and event["step"] == 1]
    assert len(first_steps) == 1, "it started over instead of going on"


def test_a_killed_runner_takes_its_tuner_along_and_the_next_one_goes_on(
    desk: Desk, data: Path, runner: Callable[[], subprocess.Popen[bytes]]
) -> None:
    job = long_job(desk, data)
    first = runner()
    until(lambda: steps(job) > 5, "five steps were trained")
    below = children_of(first.pid)
    first.kill()
    first.wait()
    until(
        lambda: not any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in below),
        "the tuner is gone",
    )
    runner()
    done = ended(desk, job)
    assert done.state == "succeeded", log_file(desk.settings, job.id).read_text()
    assert done.attempt == 2
    assert desk.registry.versions("bot") == [1]


def test_a_tuner_that_dies_every_time_fails_with_a_reason_and_the_queue_goes_on(
    desk: Desk, data: Path, base: Path, runner: Callable[[], subprocess.Popen[bytes]]
) -> None:
    doomed, healthy = long_job(desk, data), submit(desk, data, "healthy", knobs={"epochs": 1}, publish="never")
    runner_process = runner()

    def kill_the_doomed() -> bool:
        for pid in processes_matching(f"adapters run {doomed.payload['run']}", runner_process.pid):
            os.kill(pid, signal.SIGKILL)
        return desk.jobs.get(doomed.id).is_final

    until(kill_the_doomed, "the doomed job has used up its attempts")
    assert (desk.jobs.get(doomed.id).error or {})["code"] == "job_died"
    assert ended(desk, healthy).state == "succeeded"
    assert desk.registry.versions("bot") == []


def test_cancelling_ends_the_process_and_leaves_no_model(
    desk: Desk, data: Path, runner: Callable[[], subprocess.Popen[bytes]]
) -> None:
    job = long_job(desk, data)
    runner_process = runner()
    until(lambda: steps(job) > 1, "training has begun")
    desk.jobs.cancel(job.id)
    assert ended(desk, job).state == "cancelled"
    assert processes_matching("adapters run", runner_process.pid) == []
    assert desk.registry.names() == []


def test_wrong_data_wrong_base_and_wrong_knobs_are_refused_before_anything_is_queued(
    desk: Desk, tmp_path: Path, data: Path
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(data.read_text() + '{"prompt": "no answer"}\n')
    with pytest.raises(DataError, match=r"line 61.*completion"):
        submit(desk, bad, "bot")
    for wrong, message in (
        ({"base": "nobody"}, "there are: tiny"),
        ({"method": "magic"}, "magic"),
        ({"knobs": {"rank": 0}}, "rank"),
    ):
        with pytest.raises(InvalidInput, match=message):
            submit(desk, data, "bot", **wrong)  # type: ignore[arg-type]
    with pytest.raises(GraftError, match="name of a base"):
        submit(desk, data, "tiny")
    assert desk.jobs.newest() == []
    assert not desk.settings.runs.exists() or list(desk.settings.runs.iterdir()) == []
