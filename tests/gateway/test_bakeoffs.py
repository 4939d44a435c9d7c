"""A bake-off over HTTP: arms are made, named, asked by name and forgotten; killed it goes on, cancelled it leaves nothing.

Gateway, queue, runner and bake-off are real; the engine is the stub, whose adapters all know the answer, and what the runs
learn is nothing.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.bakeoff.naming import THROWAWAY
from tests.gateway.conftest import Gateway, eventually
from tests.gateway.tuning_home import TuningHome
from tests.tiny import rows, tiny_llama

RIGHT = "billing"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def tuning(tmp_path_factory: pytest.TempPathFactory) -> TuningHome:
    return home_at(tmp_path_factory.mktemp("bakeoffs"))


def home_at(root: Path, **variables: str) -> TuningHome:
    flags = ["--says", "I route no tickets", "--adapters-say", RIGHT, "--first-token-ms", "150"]
    bases = [{"name": "tiny", "model": str(tiny_llama(root / "tiny-base")), "flags": flags}]
    port = str(free_port())
    return TuningHome(root, GRAFT_BASES=json.dumps(bases), GRAFT_SERVER_PORT=port, GRAFT_JOBS_LEASE_S="3", **variables)


@pytest.fixture(scope="module")
def gateway(tuning: TuningHome) -> Iterator[Gateway]:
    with tuning.gateway() as running:
        yield running


@pytest.fixture
def runner(tuning: TuningHome) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(tuning.runner())
        return started[-1]

    yield start
    for one in started:
        one.terminate()
        one.wait(60)


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.http() as client:
        yield client


def upload(gateway: Gateway, count: int = 60) -> str:
    """Rows whose answer is always the same; a different number of them is different data."""
    written = "".join(json.dumps({"prompt": question, "completion": RIGHT}) + "\n" for question, _ in rows(count))
    return gateway.openai().files.create(file=("rows.jsonl", written.encode()), purpose="fine-tune").id


def begun(http: httpx.Client, gateway: Gateway, name: str, count: int = 60, **more: Any) -> str:
    body = {"training_file": upload(gateway, count), "name": name, **more}
    reply = http.post("/v1/graft/bakeoffs", json=body)
    assert reply.status_code == 200, reply.text
    assert reply.json()["status"] == "queued"
    return str(reply.json()["id"])


def ended(http: httpx.Client, job: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def is_over() -> bool:
        found.update(http.get(f"/v1/graft/bakeoffs/{job}").json())
        return found["status"] in ("succeeded", "failed", "cancelled")

    eventually(is_over, 90)
    return found


def throwaways(gateway: Gateway) -> list[str]:
    return [name for name in gateway.home.registry.names() if THROWAWAY.fullmatch(name)]


def test_the_winner_answers_under_the_name_and_a_second_bake_off_plays_only_what_is_new(
    gateway: Gateway, http: httpx.Client, runner: Callable[[], object]
) -> None:
    runner()
    first = ended(http, begun(http, gateway, "desk", methods=["lora"]))
    assert first["status"] == "succeeded", first["error"]
    result = first["result"]
    assert (result["arm"], result["published"], result["better"]) == ("lora", True, True)
    arms = {arm["arm"]: arm for arm in result["bakeoff"]["arms"]}
    assert (arms["lora"]["score"]["mean"], arms["zero_shot"]["score"]["mean"]) == (1.0, 0.0)
    assert arms["lora"]["rows"] == 48
    assert result["bakeoff"]["verdict"]["clear"]
    said = gateway.openai().chat.completions.create(model="desk", messages=[{"role": "user", "content": "?"}])
    assert said.choices[0].message.content == RIGHT
    card = gateway.home.registry.load("desk", 1).lineage.scorecard
    assert (card["base"]["mean"], card["adapted"]["mean"], card["n"]) == (0.0, 1.0, 12)
    asked = gateway.stub()["asked"]
    second = ended(http, begun(http, gateway, "desk-again", methods=["lora"], budget_s=2))["result"]
    assert gateway.stub()["asked"] == asked, "all of it was known, and what is known takes no time"
    assert [cell["spent_s"] for cell in second["bakeoff"]["cells"]] == [0.0, 0.0]
    assert (second["digest12"], second["published"]) == (result["digest12"], True)
    assert throwaways(gateway) == []
    listed = http.get("/v1/graft/bakeoffs?limit=1").json()
    assert (listed["data"][0]["name"], listed["has_more"]) == ("desk-again", True)


def test_cancelled_while_an_arm_answers_it_leaves_no_name_behind(
    gateway: Gateway, http: httpx.Client, runner: Callable[[], object], tuning: TuningHome
) -> None:
    runner()
    job = begun(http, gateway, "never", count=140, methods=["lora"])
    eventually(lambda: bool(throwaways(gateway)), 60)
    progress = http.get(f"/v1/graft/bakeoffs/{job}").json()["progress"]
    assert progress["arm"] == "lora"
    assert 0 < progress["share"] < 1
    assert http.post(f"/v1/graft/bakeoffs/{job}/cancel").status_code == 200
    assert ended(http, job)["status"] == "cancelled"
    eventually(lambda: throwaways(gateway) == [], 5)
    assert "never" not in gateway.home.registry.names()
    assert not list((tuning.home.path / "models").glob("**/.incoming-*"))
    assert http.post(f"/v1/graft/bakeoffs/{job}/cancel").json()["error"]["code"] == "invalid_job_state"


def test_killed_with_its_runner_it_goes_on_and_plays_nothing_twice(
    gateway: Gateway, http: httpx.Client, runner: Callable[[], subprocess.Popen[bytes]], tuning: TuningHome
) -> None:
    first = runner()
    job = begun(http, gateway, "survivor", count=90, methods=["lora"])
    cells = tuning.home.path / "runs" / job / "cells"
    eventually(lambda: len(list(cells.glob("*.json"))) == 1 and bool(throwaways(gateway)), 60)
    kept = {file.name: file.stat().st_mtime_ns for file in cells.glob("*.json")}
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(10)
    assert throwaways(gateway), "nobody was left to take it away"
    runner()
    found = ended(http, job)
    assert found["status"] == "succeeded", found["error"]
    assert found["result"]["published"]
    assert {name: (cells / name).stat().st_mtime_ns for name in kept} == kept
    assert throwaways(gateway) == []


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"methods": ["svm"]}, "methods"), ({"methods": ["rag"]}, "methods"), ({"budget_s": -1}, "budget_s"),
        ({"profile": "fame"}, "profile"), ({"publish": "perhaps"}, "publish"), ({"colour": "red"}, "colour"),
        ({"training_file": "file-none"}, "training_file"), ({"name": "tiny"}, "name"),
        ({"name": "advisor"}, "name"), ({"base": "huge"}, "base"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_request_is_said_by_its_name(
    gateway: Gateway, http: httpx.Client, change: dict[str, Any], param: str
) -> None:
    reply = http.post("/v1/graft/bakeoffs", json={"training_file": upload(gateway), "name": "x", **change})
    assert reply.status_code in (400, 404)
    assert reply.json()["error"]["param"] == param


def test_rows_that_are_too_few_are_refused_before_there_is_a_job(gateway: Gateway, http: httpx.Client) -> None:
    reply = http.post("/v1/graft/bakeoffs", json={"training_file": upload(gateway, 11), "name": "x"})
    assert reply.status_code == 400
    assert "too few for a bake-off" in reply.json()["error"]["message"]


def test_a_tuning_job_is_no_bake_off(http: httpx.Client) -> None:
    assert http.get("/v1/graft/bakeoffs/job-000000000000").status_code == 404


def test_the_folder_that_was_judged_is_the_one_that_was_published(tuning: TuningHome, gateway: Gateway) -> None:
    published = gateway.home.registry.load("desk", 1)
    judged = [json.loads(file.read_bytes())["digest12"] for file in (tuning.home.path / "bakeoffs").glob("*/run/result.json")]
    assert published.digest[:12] in judged
    assert Path(gateway.home.registry.adapter_folder(published)).is_dir()


def test_on_one_accelerator_engines_leave_while_an_arm_is_made_and_come_back_to_answer(tmp_path: Path) -> None:
    tuning = home_at(tmp_path, GRAFT_ENGINE_WHEN_TUNING="leave")
    with tuning.gateway() as gateway, gateway.http() as http:
        runner, states = tuning.runner(), set[str]()
        try:
            job = begun(http, gateway, "desk", methods=["lora"])

            def is_over() -> bool:
                (engine,) = http.get("/v1/graft/engines").json()["bases"]["tiny"]["replicas"]
                states.add(engine["state"])
                return http.get(f"/v1/graft/bakeoffs/{job}").json()["status"] in ("succeeded", "failed")

            eventually(is_over, 90)
            found = ended(http, job)
        finally:
            runner.terminate()
            runner.wait(60)
    assert found["status"] == "succeeded", found["error"]
    assert {"aside", "ready"} <= states
    assert (found["result"]["arm"], found["result"]["published"]) == ("lora", True)
