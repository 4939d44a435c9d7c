"""`graft doctor`: says what is wrong and what to do, fails when something is, and makes nothing by looking."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.registry import MANIFEST
from gateway import settings as settings_table
from gateway.cli import doctor as verb
from gateway.cli.checks import house, machine, serving
from gateway.cli.checks.contract import Finding
from gateway.cli.checks.table import CHECKS
from gateway.settings import BaseSetting, Settings
from tests.flows.serving import free_port
from tests.gateway.conftest import BASE, Home
from tests.tiny import tiny_llama


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("GRAFT_STORAGE_HOME", str(home))
    monkeypatch.setenv("GRAFT_STORAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GRAFT_SERVER_PORT", str(free_port()))
    return home


def loaded(**more: object) -> Settings:
    return settings_table.load(overrides=more)


def told(found: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(finding.state, f"{finding.says} -> {finding.do}") for finding in found]


def one(found: Iterator[Finding]) -> tuple[str, str]:
    (only,) = told(found)
    return only


def asked(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, str]]]:
    status = 0
    try:
        verb.doctor(json=True)
    except SystemExit as left:
        status = int(str(left.code))
    return status, json.loads(capsys.readouterr().out)


def test_a_new_machine_has_nothing_that_fails_and_looking_makes_nothing(
    variables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = asked(capsys)
    assert {row["check"] for row in found} == set(CHECKS)
    assert [row for row in found if row["state"] == "fail"] == []
    assert status == 0
    assert not variables.exists()
    verb.doctor()
    assert "not prepared yet" in capsys.readouterr().out


def test_every_finding_that_is_not_well_says_what_to_do(variables: Path) -> None:
    bases = (BaseSetting("gone", "Nobody/Nothing"), BaseSetting("smollm2", "smollm2", replicas=1000))
    settings = loaded(bases=bases, engine_kind="stub", engine_max_loras=500, engine_max_cpu_loras=500)
    findings = [finding for check in CHECKS.values() for finding in check(settings)]
    ill = [finding for finding in findings if finding.state != "ok"]
    assert len(ill) >= 4
    assert all(finding.do for finding in ill)


def test_one_check_that_breaks_does_not_hide_the_others(
    variables: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Settings, /) -> Iterator[Finding]:
        yield Finding("ok", "so far")
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(verb, "CHECKS", {"broken": broken, "home": house.storage})
    status, found = asked(capsys)
    assert status == 1
    assert [(row["check"], row["state"]) for row in found] == [("broken", "ok"), ("broken", "fail"), ("home", "ok")]
    assert "ZeroDivisionError: by zero" in found[1]["says"]


def test_a_home_that_cannot_be_written_to_fails(variables: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    state, says = one(house.storage(loaded(storage_home=str(tmp_path / "file"))))
    assert state == "fail"
    assert "cannot be written to" in says


def test_little_space_is_said(variables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for free_gib, state in ((0.1, "fail"), (2, "warn"), (50, "ok")):
        monkeypatch.setattr(house.shutil, "disk_usage", lambda _, free=free_gib: type("", (), {"free": free * 2**30}))
        assert one(house.storage(loaded()))[0] == state


def test_a_whole_registry_is_well_and_a_torn_one_says_where(variables: Path, tmp_path: Path) -> None:
    home = Home(variables, tmp_path / "scratch")
    bot, lost = home.publish("bot"), home.publish("lost", seed=1)
    assert one(house.registry(loaded()))[0] == "ok"
    (home.registry.folder(bot) / MANIFEST).write_text("{")
    (home.registry.adapter_folder(lost) / "adapter_model.safetensors").unlink()
    torn = home.registry.root / "lost" / "0123456789ab"
    torn.mkdir()
    found = told(house.registry(loaded()))
    assert {state for state, _ in found} == {"fail"}
    says = "\n".join(text for _, text in found)
    for word in ("bot@1", f"{torn} has no {MANIFEST}", "has lost its weights", "graft models rm"):
        assert word in says


def test_a_name_that_points_nowhere_is_found(variables: Path, tmp_path: Path) -> None:
    home = Home(variables, tmp_path / "scratch")
    home.publish("bot")
    home.registry.remove("bot")
    state, says = one(house.registry(loaded()))
    assert state == "fail"
    assert "'bot' answers with version 1, which is gone" in says


def test_the_database_is_looked_at_and_its_password_is_not_shown(variables: Path, tmp_path: Path) -> None:
    assert "made at first use" in one(house.database(loaded()))[1]
    Home(variables, tmp_path / "scratch").publish("bot")
    assert one(house.database(loaded()))[0] == "ok"


def test_a_prepared_base_is_described_and_its_plan_names_who_makes_it_dear(variables: Path, tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "tiny")
    home = Home(variables, tmp_path / "scratch")
    home.publish("small")
    home.publish("big", rank=256, seed=1)
    settings = loaded(bases=(BaseSetting(BASE, str(folder)),))
    state, says = one(house.base_models(settings))
    assert state == "ok"
    assert "digest" in says
    (first, warning) = told(serving.capacity(settings))
    assert first[0] == "ok"
    assert "at rank 256" in first[1]
    assert warning[0] == "warn"
    assert "one rank-256 adapter (big@1) taxes every slot" in warning[1]


def test_memory_that_holds_no_adapter_fails(variables: Path, tmp_path: Path) -> None:
    settings = loaded(bases=(BaseSetting(BASE, str(tiny_llama(tmp_path / "tiny"))),), engine_lora_memory_gib=1e-6)
    state, says = one(serving.capacity(settings))
    assert state == "fail"
    assert "lora_memory_gib" in says


def test_more_engines_than_memory_is_a_warning(variables: Path) -> None:
    state, says = one(machine.machine(loaded(bases=(BaseSetting("smollm2", "smollm2", replicas=1000),))))
    assert state == "warn"
    assert "fewer replicas" in says


class _Answers(http.server.BaseHTTPRequestHandler):
    bodies: dict[str, tuple[int, object]]

    def do_GET(self) -> None:
        status, body = self.bodies.get(self.path, (404, {}))
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Nothing: tests are read, not watched."""


@pytest.fixture
def listening(variables: Path) -> Iterator[type[_Answers]]:
    """Something on the gateway's port; what it answers is for the test to say."""
    handler = type("Handler", (_Answers,), {"bodies": {}})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", loaded().server_port), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_free_port_is_well_and_a_stranger_on_it_is_not(variables: Path, request: pytest.FixtureRequest) -> None:
    assert "nothing listens there" in one(serving.gateway(loaded()))[1]
    request.getfixturevalue("listening")
    state, says = one(serving.gateway(loaded()))
    assert state == "fail"
    assert "no gateway" in says


def test_a_gateway_shows_its_engines(listening: type[_Answers]) -> None:
    well = {"name": "tiny-0", "state": "ready", "adapters": ["a", "b"], "in_flight": {"a": 2}, "waiting": {"b": 3}}
    ill = well | {"name": "tiny-1", "state": "restarting", "last_failure": "it ended with status 1"}
    listening.bodies = {
        "/health/ready": (200, {"status": "ready", "engines": {"tiny": ["ready", "restarting"]}}),
        "/v1/graft/engines": (200, {"bases": {"tiny": {"replicas": [well | {"last_failure": None}, ill]}}}),
    }
    found = told(serving.gateway(loaded()))
    assert [state for state, _ in found] == ["ok", "ok", "warn"]
    assert "tiny-0: ready, 2 adapters, 2 answers under way, 3 waiting" in found[1][1]
    assert "it ended with status 1" in found[2][1]


def test_a_gateway_that_wants_another_key_says_so(listening: type[_Answers]) -> None:
    listening.bodies = {
        "/health/ready": (503, {"status": "not ready", "engines": {"tiny": ["starting"]}}),
        "/v1/graft/engines": (401, {"error": {}}),
    }
    found = told(serving.gateway(loaded()))
    assert [state for state, _ in found] == ["warn", "warn"]
    assert "set server.api_key" in found[1][1]
