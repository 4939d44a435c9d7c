"""`graft bakeoff` from end to end with drafts that were really made: few shots chosen and a LoRA trained on a tiny Llama.

Only the engine is a stub: what has an adapter answers right, what has none does not.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from advisor.evidence import wilson
from tests.adapters.test_rag import ROWS as TOWNS_ROWS
from tests.adapters.test_rag import TOWNS, fact
from tests.gateway.conftest import Gateway, Home, gateway_on
from tests.tiny import rows, tiny_llama

RIGHT = "billing"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("journey")
    (made / "home").mkdir()
    return made


@pytest.fixture(scope="module")
def environment(root: Path) -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    flags = ["--says", "I route no tickets", "--adapters-say", RIGHT]
    bases = [{"name": "tiny", "model": str(tiny_llama(root / "tiny")), "flags": flags}]
    return {
        "GRAFT_STORAGE_HOME": str(root / "home"), "GRAFT_ENGINE_KIND": "stub", "GRAFT_BASES": json.dumps(bases),
        "GRAFT_SERVER_PORT": port,
    }  # fmt: skip


@pytest.fixture(scope="module")
def gateway(root: Path, environment: dict[str, str]) -> Iterator[Gateway]:
    with gateway_on(Home(root / "home", root / "made"), **environment) as running:
        yield running


def graft(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "gateway.cli.main", *arguments]
    return subprocess.run(
        argv, env={**os.environ, **environment, "COLUMNS": "200"}, capture_output=True, text=True, check=False
    )


def test_the_best_of_what_was_really_made_wins_and_is_published(
    root: Path, environment: dict[str, str], gateway: Gateway
) -> None:
    data = root / "rows.jsonl"
    data.write_text("".join(json.dumps({"prompt": q, "completion": RIGHT}) + "\n" for q, _ in rows(60)))
    done = graft(environment, "bakeoff", str(data), "--name", "desk", "--methods", "few_shot,lora")
    assert done.returncode == 0, done.stderr
    assert "lora wins: lora is better than every other, by 12 rows" in done.stdout
    assert 'published desk@1: ask it as model="desk"' in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[1:4]] == ["lora", "zero_shot", "few_shot"]
    said = gateway.openai().chat.completions.create(model="desk", messages=[{"role": "user", "content": "?"}])
    assert said.choices[0].message.content == RIGHT
    lineage = gateway.home.registry.load("desk", 1).lineage
    assert (lineage.method, lineage.scorecard["n"], lineage.scorecard["adapted"]["mean"]) == ("lora", 12, 1.0)
    assert lineage.scorecard["loss_nats_per_token"]["adapted"] > 0
    assert lineage.scorecard["forgetting"]["n"] > 0
    assert gateway.home.registry.names() == ["desk"]


def test_what_is_wrong_is_said_before_a_gateway_is_asked_for(root: Path, environment: dict[str, str]) -> None:
    """Nobody starts an engine only to be told of a typing error. No gateway answers at this port."""
    alone, data, empty = environment | {"GRAFT_SERVER_PORT": "9"}, root / "sixty.jsonl", root / "empty.jsonl"
    data.write_text("".join(json.dumps({"prompt": q, "completion": RIGHT}) + "\n" for q, _ in rows(60)))
    empty.write_text("")

    def refused(*arguments: str) -> str:
        done = graft(alone, "bakeoff", *arguments)
        assert done.returncode == 1
        return done.stderr

    assert "empty.jsonl" in refused(str(empty), "--name", "desk")
    assert "../x" in refused(str(data), "--name", "../x")
    assert "huge" in refused(str(data), "--name", "desk", "--base", "huge")
    assert "svm" in refused(str(data), "--name", "desk", "--methods", "svm")
    assert "nowhere" in refused(str(data), "--name", "desk", "--docs", str(root / "nowhere"))
    assert "start it in another terminal: graft serve" in refused(str(data), "--name", "desk")


def test_documents_become_a_store_that_is_searched_and_goes_where_nobody_won_with_it(
    root: Path, environment: dict[str, str], gateway: Gateway
) -> None:
    data, docs = root / "towns.jsonl", root / "docs"
    data.write_text("".join(json.dumps({"prompt": row.question, "completion": row.answer}) + "\n" for row in TOWNS_ROWS))
    docs.mkdir()
    (docs / "towns.txt").write_text("\n\n".join(map(fact, TOWNS)))
    done = graft(environment, "bakeoff", str(data), "--name", "towns", "--methods", "rag", "--docs", str(docs), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    arms = {arm["arm"]: arm for arm in result["bakeoff"]["arms"]}
    assert arms["rag"]["how"] == "played"
    assert arms["rag"]["prompt_tokens"] > arms["zero_shot"]["prompt_tokens"] + 20, "passages stood before the questions"
    assert result["arm"] == "zero_shot", "both are as wrong, and the base is cheaper"
    assert not result["published"]
    with gateway.http() as http:
        assert http.get("/v1/vector_stores").json()["data"] == []


def test_an_advice_is_measured_by_playing_its_leading_methods_and_given_again_with_what_they_scored(
    root: Path, environment: dict[str, str], gateway: Gateway
) -> None:
    data, report = root / "routed.jsonl", root / "report.html"
    data.write_text("".join(json.dumps({"prompt": q, "completion": a}) + "\n" for q, a in rows(60)))
    done = graft(environment, "advise", str(data), "--n", "60", "--measure", "--budget", "40s", "--html", str(report), "--json")
    assert done.returncode == 0, done.stderr
    advice = json.loads(done.stdout)
    played = [arm for arm in advice["bakeoff"]["arms"] if arm["score"] is not None]
    assert {"zero_shot"} < {arm["arm"] for arm in played}
    measured = {one["name"]: one for one in advice["evidence"] if one["name"].startswith("score.")}
    assert set(measured) == {f"score.{arm['arm']}" for arm in played}
    for arm in played:
        said, ranked = measured[f"score.{arm['arm']}"], {one["method"]: one for one in advice["ranking"]}
        assert said["value"] == pytest.approx(arm["score"]["mean"], abs=1e-3)
        low, high = ranked[arm["arm"]]["quality"]["interval"]
        least, most = wilson(round(said["value"] * said["n"]), said["n"])
        assert max(low, least) <= min(high, most), "what is foretold agrees with what was played"
    assert "Advised: " + advice["recommendation"]["method"] in report.read_text()
    with gateway.http() as http:
        assert http.get(f"/v1/graft/bakeoffs/{advice['job']}").json()["status"] == "succeeded"
    assert "routed" not in gateway.openai().models.list().model_dump_json(), "nothing is published"
