"""The `graft` command as a person meets it: exit codes, errors on stderr in one line, JSON and names for scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.adapted_model import AdaptedModel
from adapters.prompts import PromptTemplate
from gateway.cli.desk import Desk
from tests.tiny import tiny_llama, write_pairs


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("GRAFT_STORAGE_HOME", str(tmp_path / "home"))
    desk = Desk()
    for text in "ab":
        desk.registry.publish(desk.registry.add(AdaptedModel("bot", 0, "smollm2", prompt=PromptTemplate(text))))
    desk.registry.add(AdaptedModel("bot", 0, "smollm2", prompt=PromptTemplate("c")))
    desk.names.promote("bot", 1)
    desk.names.promote("bot", 2)
    return desk


def graft(*arguments: str, status: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "gateway.cli.main", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **variables})
    assert done.returncode == status, done.stderr
    return done


def test_models_are_listed_for_people_scripts_and_programs(desk: Desk) -> None:
    assert "bot" in graft("models", "ls").stdout
    assert graft("models", "ls", "-q").stdout == "bot\n"
    (row,) = json.loads(graft("models", "ls", "--json").stdout)
    assert (row["name"], row["current"], row["versions"], len(row["drafts"])) == ("bot", 2, [1, 2], 1)
    shown = json.loads(graft("models", "show", "bot@1", "--json").stdout)
    assert (shown["version"], shown["prompt"]["system"]) == (1, "a")


def at(desk: Desk) -> tuple[int | None, int | None]:
    pointer = desk.names.pointer("bot")
    assert pointer is not None
    return pointer.version, pointer.previous


def test_names_move_and_drafts_are_published(desk: Desk) -> None:
    graft("models", "rollback", "bot")
    assert at(desk) == (1, 2)
    draft = desk.registry.drafts("bot")[0].digest[:6]
    refused = graft("models", "promote", "bot", "--draft", draft, status=1)
    assert "it has no scorecard" in refused.stderr
    graft("models", "promote", "bot", "3", "--force")
    assert at(desk) == (3, 1)
    graft("models", "promote", "bot", "2", "--force")
    graft("models", "canary", "bot", "1", "0.25")
    assert "25%" in graft("models", "ls").stdout
    graft("models", "canary", "bot", "--off")
    assert "rolled back" in graft("models", "show", "bot").stdout
    graft("models", "rm", "bot@3", "--yes")
    assert desk.registry.versions("bot") == [1, 2]
    graft("models", "rm", "bot", "--yes")
    assert desk.registry.names() == []
    assert at(desk) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["models", "show", "nobody"], "no published model named 'nobody'"),
        (["models", "promote", "bot", "9"], "no version 9"),
        (["models", "promote", "bot"], "either a version or --draft"),
        (["models", "rm", "bot@2", "--yes"], "promote another version first"),
        (["models", "show", "bot@x"], "a version is a number"),
        (["models", "canary", "bot", "1"], "a version and its share"),
        (["jobs", "show", "job-x"], "graft jobs ls"),
        (["jobs", "cancel", "job-x"], "no job 'job-x'"),
        (["tune", "nothing.jsonl", "--name", "../up"], "cannot be a model name"),
        (["chat", "-q", "hi"], "start it in another terminal"),
        (["serve", "--host", "0.0.0.0"], "server.api_key"),
        (["serve", "no-such-model"], "no folder here, no hub id"),
        (["serve", "--config", "nothing.toml"], "no settings file"),
    ],
)
def test_what_cannot_be_done_is_said_in_words_on_stderr(desk: Desk, arguments: list[str], said: str) -> None:
    done = graft(*arguments, status=1, GRAFT_SERVER_PORT="1")
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["models", "bogus"], ["models", "show"], ["tune"], ["jobs", "ls", "--limit", "x"]]
)
def test_a_wrong_command_is_status_2(arguments: list[str]) -> None:
    graft(*arguments, status=2)


def test_tuning_bad_data_names_the_line_and_queues_nothing(desk: Desk, tmp_path: Path) -> None:
    base, file = tiny_llama(tmp_path / "tiny"), write_pairs(tmp_path / "rows.jsonl")
    file.write_text(file.read_text() + '{"prompt": 3, "completion": "x"}\n')
    bases = json.dumps([{"name": "tiny", "model": str(base)}])
    done = graft("tune", str(file), "--name", "other", status=1, GRAFT_BASES=bases)
    assert "line 41" in done.stderr
    assert "'prompt'" in done.stderr
    assert desk.jobs.newest() == []


def test_a_detached_job_is_a_row_that_others_can_see(desk: Desk, tmp_path: Path) -> None:
    base, file = tiny_llama(tmp_path / "tiny"), write_pairs(tmp_path / "rows.jsonl")
    bases = json.dumps([{"name": "tiny", "model": str(base)}])
    job = graft("tune", str(file), "--name", "other", "--method", "few_shot", "--detach", GRAFT_BASES=bases).stdout.strip()
    assert json.loads(graft("jobs", "show", job, "--json").stdout)["payload"]["name"] == "other"
    outcome = json.loads(graft("jobs", "wait", job, "--json", GRAFT_BASES=bases).stdout)
    assert outcome["job"] == job
    assert json.loads(graft("jobs", "ls", "--json").stdout)[0]["state"] == "succeeded"
    assert "baseline" in graft("jobs", "logs", job).stdout
