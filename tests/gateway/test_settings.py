"""Settings: one table fills every source, precedence is flags > environment > file > default, errors name the key."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from adapters.errors import InvalidInput
from gateway.jobs.tasks import KINDS
from gateway.settings import BASE_FIELDS, SETTINGS, Settings, load

SHIPPED = Path(__file__).parents[2] / "deploy" / "graft.toml"


def test_the_shipped_file_shows_every_setting_with_its_default_and_its_help() -> None:
    text, raw = SHIPPED.read_text(), tomllib.loads(SHIPPED.read_text())
    for setting in SETTINGS:
        assert raw[setting.section][setting.name] == setting.default
        assert f"# {setting.help}" in text
    assert {field for base in raw["bases"] for field in base} == set(BASE_FIELDS)
    assert all(f"# {sentence}" in text for sentence in BASE_FIELDS.values())
    assert sum(len(content) for section, content in raw.items() if section != "bases") == len(SETTINGS)


def test_the_shipped_file_is_the_defaults() -> None:
    assert load(SHIPPED, environment={}) == load(environment={})


def test_every_row_of_the_table_has_its_field() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)} - {"bases"}
    assert fields == {f"{setting.section}_{setting.name}" for setting in SETTINGS}


def test_flags_beat_the_environment_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "graft.toml"
    file.write_text("[server]\nport = 1\n[engine]\nmax_loras = 2\n[jobs]\nattempts = 5\n")
    settings = load(file, {"server_port": 3}, {"GRAFT_SERVER_PORT": "2", "GRAFT_ENGINE_MAX_LORAS": "7"})
    assert (settings.server_port, settings.engine_max_loras, settings.jobs_attempts) == (3, 7, 5)


def test_one_setting_makes_a_job_train_by_several_processes() -> None:
    settings = load(environment={"GRAFT_JOBS_PROCESSES": "4", "GRAFT_JOBS_SHARDING": "fsdp2"})
    assert KINDS["tune"].argv({"run": "r"}, settings)[-5:] == ["r", "--processes", "4", "--sharding", "fsdp2"]


WRONG = {
    "[jobs]\nprocesses = 0": "processes must be from 1 to 64",
    "[jobs]\nsharding = 'zero3'": "sharding must be one of ddp, fsdp2",
    "[server]\nprt = 1": "no setting 'prt'; did you mean 'port'",
    "[sever]\nport = 1": r"unknown section \[sever\]; did you mean 'server'",
    "[server]\nport = 'x'": "server.port must be int, not 'x'",
    "[server]\nport = true": "server.port must be int",
    "[server]\nport = 1.5": "server.port must be int",
    "[server": "is not TOML",
    "[engine]\nmax_lora_rank = 48": "must be one of 8, 16",
    "[engine]\nmax_loras = 9\nmax_cpu_loras = 2": "must not be below",
    "[server]\nhost = '0.0.0.0'": "set server.api_key",
    "[[bases]]\nname = 'a'": "needs 'model'",
    "[[bases]]\nmodle = 'a'": "did you mean 'model'",
    "[[bases]]\nmodel = 'a'\n[[bases]]\nmodel = 'a'": "two bases have the same name",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_file_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    file = tmp_path / "graft.toml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=WRONG[text]):
        load(file, environment={})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no settings file"):
        load(tmp_path / "nothing.toml")


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)])
def test_only_loopback_may_go_without_a_key(host: str, loopback: bool) -> None:
    assert load(overrides={"server_host": host, "server_api_key": "k"}, environment={}).is_loopback is loopback
