"""What a name wants is proven by an engine before the name moves; what is removed keeps its files while they can be read."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable

import openai
import pytest

from adapters.adapted_model import AdaptedModel, AdapterRef
from adapters.registry import CHECKPOINT_WEIGHTS, file_digest
from gateway.db import retirement
from tests.gateway.conftest import BASE, PROBE, Gateway, Home, eventually

Start = Callable[..., Gateway]
HELLO = [{"role": "user", "content": "hello"}]


def asked(gateway: Gateway, model: str, **more: str) -> str:
    """Which version answered."""
    with gateway.openai() as client:
        answer = client.chat.completions.with_raw_response.create(model=model, messages=HELLO, **more)  # type: ignore[call-overload]
    return str(answer.headers["x-graft-model"])


def is_unknown(gateway: Gateway, model: str) -> bool:
    try:
        asked(gateway, model)
    except openai.NotFoundError:
        return True
    return False


def test_a_wanted_version_is_proven_on_the_engine_and_only_then_current(home: Home, start: Start) -> None:
    first = home.publish("bot", seed=1)
    gateway = start()
    assert asked(gateway, "bot") == "bot@1"
    second = home.publish("bot", seed=2, promote=False)
    probed = gateway.stub()["probed"]
    home.names.want("bot", second.version)
    eventually(lambda: home.current("bot").version == 2)
    assert gateway.stub()["probed"] == probed + 1
    eventually(lambda: asked(gateway, "bot") == "bot@2")
    assert asked(gateway, "bot@1") == first.pinned
    assert [move.what for move in home.names.moves("bot")] == ["promoted", "wanted", "promoted"]


def test_an_adapter_that_does_not_take_effect_is_quarantined_and_the_name_stays(home: Home, start: Start) -> None:
    home.publish("bot", seed=1)
    home.publish("deaf", seed=1, promote=False)
    gateway = start("--deaf-to", "deaf")
    home.names.want("deaf", 1)
    eventually(lambda: home.current("deaf").remark is not None)
    assert home.current("deaf").version is None
    assert "does not serve what was trained" in home.names.quarantined("deaf")[1]
    with gateway.openai() as client:
        with pytest.raises(openai.NotFoundError, match="does not serve what was trained"):
            client.chat.completions.create(model="deaf", messages=HELLO)  # type: ignore[arg-type]
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            client.chat.completions.create(model="deaf@1", messages=HELLO)  # type: ignore[arg-type]
    assert refused.value.code == "adapter_not_proven"
    assert asked(gateway, "bot") == "bot@1", "one bad adapter does not poison another"


def test_a_version_the_engine_refuses_leaves_the_name_where_it_was_and_says_why(home: Home, start: Start) -> None:
    home.publish("bot", seed=1)
    home.publish("bot", seed=2, rank=128, promote=False)
    gateway = start(GRAFT_ENGINE_MAX_LORA_RANK="16")
    home.names.want("bot", 2)
    eventually(lambda: home.current("bot").remark is not None)
    pointer = home.current("bot")
    assert (pointer.version, pointer.wanted) == (1, None)
    assert "rank 128" in str(pointer.remark)
    assert asked(gateway, "bot") == "bot@1"


def test_engines_start_again_for_a_wanted_version_of_a_higher_rank_than_they_were_planned_for(home: Home, start: Start) -> None:
    home.publish("bot", seed=1)
    gateway = start()
    assert asked(gateway, "bot") == "bot@1"
    before = gateway.engine_pid
    home.publish("bot", seed=2, rank=64, promote=False)
    home.names.want("bot", 2)
    eventually(lambda: home.current("bot").version == 2, 30)
    assert gateway.engine_pid != before
    eventually(lambda: asked(gateway, "bot") == "bot@2")
    assert asked(gateway, "bot@1") == "bot@1"
    with gateway.http() as http:
        assert http.get("/v1/graft/engines").json()["bases"][BASE]["plan"]["max_lora_rank"] == 64


def test_what_was_wanted_while_no_gateway_ran_is_proven_by_the_next_one(home: Home, start: Start) -> None:
    home.publish("bot", seed=1, promote=False)
    home.names.want("bot", 1)
    assert home.current("bot").version is None
    gateway = start()
    eventually(lambda: home.current("bot").version == 1)
    eventually(lambda: asked(gateway, "bot") == "bot@1")


def test_a_canary_is_sticky_by_user_and_by_header(home: Home, start: Start) -> None:
    home.publish("bot", seed=1)
    home.publish("bot", seed=2, promote=False)
    gateway = start()
    home.names.canary("bot", {2: 0.5})
    eventually(lambda: "bot@2" in {asked(gateway, "bot", user=f"u{n}") for n in range(8)})
    users = {f"user-{n}": asked(gateway, "bot", user=f"user-{n}") for n in range(40)}
    assert set(Counter(users.values())) == {"bot@1", "bot@2"}
    assert all(asked(gateway, "bot", user=user) == version for user, version in users.items())
    with gateway.http() as client:
        for session in ("a", "b", "c", "d"):
            answers = {
                client.post(
                    "/v1/chat/completions", json={"model": "bot", "messages": HELLO}, headers={"x-graft-session": session}
                ).headers["x-graft-model"]
                for _ in range(5)
            }
            assert len(answers) == 1
    home.names.canary("bot", {})
    time.sleep(0.5)  # the gateway reads the names within gateway.db.snapshot.FRESH_S
    assert {asked(gateway, "bot", user=user) for user in users} == {"bot@1"}


def test_files_stay_until_every_gateway_has_let_the_version_go(
    home: Home, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = home.publish("bot", seed=1)
    folder = home.registry.folder(first)
    gateway = start("--token-ms", "60")
    stream = gateway.openai().chat.completions.create(
        model="bot",
        messages=HELLO,
        stream=True,
        max_tokens=40,
        extra_body={"ignore_eos": True},  # type: ignore[arg-type]
    )
    next(stream)
    home.publish("bot", seed=2)
    home.names.forget_version("bot", 1)
    assert home.retirement.collect() == [], "the command line finds a gateway alive and leaves the files to it"
    eventually(lambda: is_unknown(gateway, "bot@1"))
    assert folder.is_dir(), "an answer under way may make its engine read the files again"
    assert sum(1 for _ in stream) > 10
    eventually(lambda: not folder.exists())
    assert asked(gateway, "bot") == "bot@2"
    monkeypatch.setattr(retirement, "DEAD_AFTER_S", 0.0)
    home.names.forget("bot")
    assert len(home.retirement.collect()) == 1, "with no gateway alive, they go at once"


def test_a_gateway_that_stops_takes_its_word_with_it(home: Home, start: Start) -> None:
    gateway = start()
    eventually(lambda: home.retirement.alive() != [])
    gateway.stop()
    assert home.retirement.alive() == []


def test_a_merged_version_gets_an_engine_of_its_own_behind_the_same_name_until_nothing_leads_to_it(
    home: Home, start: Start
) -> None:
    first = home.publish("bot", seed=1)
    gateway = start()
    folder = home.scratch / "merged"
    folder.mkdir(parents=True)
    (folder / CHECKPOINT_WEIGHTS).write_bytes(b"weights")
    (folder / "probe.json").write_text(json.dumps(PROBE))  # the stub has no weights, and answers what it finds here
    ref = AdapterRef("checkpoint", file_digest(folder / CHECKPOINT_WEIGHTS))
    merged = home.registry.publish(home.registry.add(AdaptedModel("bot", 0, BASE, ref), folder, PROBE))
    home.names.want("bot", merged.version)
    eventually(lambda: home.current("bot").version == 2, 20)
    eventually(lambda: asked(gateway, "bot") == "bot@2")
    assert asked(gateway, "bot@1") == first.pinned
    with gateway.http() as client:
        bases = client.get("/v1/graft/engines").json()["bases"]
    assert set(bases) == {BASE, merged.engine_name}
    assert bases[merged.engine_name]["plan"] is None
    home.names.promote("bot", home.publish("bot", seed=3, promote=False).version)
    home.names.promote("bot", 1)
    home.names.forget_version("bot", 2)
    with gateway.http() as client:
        eventually(lambda: set(client.get("/v1/graft/engines").json()["bases"]) == {BASE})
