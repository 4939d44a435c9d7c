"""On one accelerator, engines and a tuning job take turns: engines leave while a job runs, and come back as they were.

The gateway, the queue and the runner are real; the engine is the stub, and what the jobs run learns nothing.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

from adapters.errors import InvalidInput
from gateway import settings
from gateway.engines.sockets import socket_path
from gateway.jobs.runner import engines_leave
from tests.gateway.conftest import Gateway, eventually
from tests.gateway.tuning_home import ROWS, TuningHome

HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
def tuning(tmp_path: Path) -> TuningHome:
    made = TuningHome(tmp_path, GRAFT_ENGINE_WHEN_TUNING="leave", GRAFT_JOBS_LEASE_S="3")
    made.home.publish("clipped", seed=9)
    return made


@pytest.fixture
def started(tuning: TuningHome) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def run_by(tuning: TuningHome, started: ExitStack) -> Any:
    runner = tuning.runner()
    started.callback(runner.wait, 60)
    started.callback(runner.terminate)
    return runner


def job(client: openai.OpenAI, epochs: int) -> str:
    file_id = client.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune").id
    return client.fine_tuning.jobs.create(model="tiny", training_file=file_id, hyperparameters={"n_epochs": epochs}).id


def is_away(gateway: Gateway) -> bool:
    with gateway.http() as http:
        (engine,) = http.get("/v1/graft/engines").json()["bases"]["tiny"]["replicas"]
    return engine["state"] == "aside" and engine["pid"] is None


def test_engines_leave_for_a_job_and_come_back_with_their_adapters(tuning: TuningHome, started: ExitStack) -> None:
    gateway = started.enter_context(tuning.gateway())
    client = gateway.openai()
    assert client.chat.completions.create(model="clipped", messages=HELLO).choices
    job_id = job(client, epochs=50)
    run_by(tuning, started)
    eventually(lambda: is_away(gateway), 30)
    assert not gateway.engine_socket.exists()
    with pytest.raises(openai.APIStatusError, match="left the accelerator to a tuning job") as refused:
        client.chat.completions.create(model="clipped", messages=HELLO)
    assert refused.value.status_code == 503
    assert int(refused.value.response.headers["retry-after"]) > 0
    with gateway.http() as http:
        assert http.get("/health/live").status_code == 200
        assert http.get("/health/ready").status_code == 503
    eventually(lambda: client.fine_tuning.jobs.retrieve(job_id).status == "succeeded", 60)
    gateway.wait_ready()
    eventually(lambda: any(name.startswith("clipped--") for name in gateway.stub()["reads"]))
    tuned = client.fine_tuning.jobs.retrieve(job_id).fine_tuned_model
    assert tuned is not None
    assert client.chat.completions.create(model=tuned, messages=HELLO).choices, "proven by the engine that came back"


def test_an_answer_under_way_ends_before_its_engine_leaves(tuning: TuningHome, started: ExitStack) -> None:
    tuning.variables["GRAFT_BASES"] = tuning.variables["GRAFT_BASES"].replace("}]", ', "flags": ["--token-ms", "40"]}]')
    gateway = started.enter_context(tuning.gateway())
    client = gateway.openai()
    job_id = job(client, epochs=1)
    stream = client.chat.completions.create(
        model="tiny", messages=HELLO, stream=True, max_tokens=100, extra_body={"ignore_eos": True}
    )
    said = [next(iter(stream))]
    run_by(tuning, started)
    said += list(stream)  # four seconds of tokens
    assert said[-1].choices[0].finish_reason == "length"
    eventually(lambda: client.fine_tuning.jobs.retrieve(job_id).status == "succeeded", 60)


def test_the_job_begins_when_every_gateways_engines_have_left(tuning: TuningHome, started: ExitStack) -> None:
    first, second = (started.enter_context(tuning.gateway(name)) for name in ("g", "h"))
    job_id = job(first.openai(), epochs=50)
    began: list[tuple[bool, bool]] = []

    def watch() -> None:
        eventually(lambda: (tuning.home.path / "runs" / job_id / "metrics.jsonl").exists(), 60)
        began.append((socket_path(first.settings, "tiny-0").exists(), socket_path(second.settings, "tiny-0").exists()))

    watching = threading.Thread(target=watch)
    watching.start()
    run_by(tuning, started)
    watching.join(90)
    assert began == [(False, False)]
    assert is_away(first)
    assert is_away(second)


def test_the_engines_of_a_runner_that_is_killed_come_back_when_its_lease_ends(tuning: TuningHome, started: ExitStack) -> None:
    gateway = started.enter_context(tuning.gateway())
    client = gateway.openai()
    job_id = job(client, epochs=50)
    runner = run_by(tuning, started)
    eventually(lambda: is_away(gateway), 30)
    runner.send_signal(signal.SIGKILL)
    gateway.wait_ready()
    assert client.chat.completions.create(model="clipped", messages=HELLO).choices
    run_by(tuning, started)
    eventually(lambda: is_away(gateway), 30)
    assert client.fine_tuning.jobs.cancel(job_id).status == "cancelled"
    gateway.wait_ready()


def test_engines_stay_where_there_is_no_gpu_or_one_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    says = tmp_path / "nvidia-smi"
    says.write_text("#!/bin/sh\necho 'GPU 0: a card'\n")
    says.chmod(0o755)
    auto = settings.load(environment={})
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert not engines_leave(auto)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert engines_leave(auto)
    assert not engines_leave(settings.load(environment={"GRAFT_ENGINE_WHEN_TUNING": "stay"}))
    with pytest.raises(InvalidInput, match="auto, leave, stay"):
        settings.load(environment={"GRAFT_ENGINE_WHEN_TUNING": "sleep"})
