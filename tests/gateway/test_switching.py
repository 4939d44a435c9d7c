"""Names move under load, between gateways and across kills: no request fails, none mixes versions, nothing is half done."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import Gateway, Home, eventually, gateway_on

Start = Callable[..., Gateway]
SWITCHES, CALLERS = 100, 8


def body(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}]}


async def asked_until(gateway: Gateway, done: asyncio.Event, engine_names: dict[str, str]) -> Counter[str]:
    """Asks `bot` again and again; every answer must come, and be of the version its header names."""
    limits = httpx.Limits(max_connections=None)
    transport = httpx.AsyncHTTPTransport(uds=str(gateway.socket), limits=limits)
    seen: Counter[str] = Counter()

    async def call(client: httpx.AsyncClient) -> None:
        while not done.is_set():
            answer = await client.post("/v1/chat/completions", json=body("bot"))
            assert answer.status_code == 200, answer.text
            version = answer.headers["x-graft-model"]
            assert engine_names[version] in answer.json()["choices"][0]["message"]["content"]
            seen[version] += 1

    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=30) as client:
        await asyncio.gather(*(call(client) for _ in range(CALLERS)))
    return seen


def test_a_hundred_switches_under_load_fail_nobody_and_mix_nothing(home: Home, start: Start) -> None:
    versions = [home.publish("bot", seed=seed, promote=seed == 1) for seed in (1, 2, 3)]
    engine_names = {version.pinned: version.engine_name for version in versions}
    gateway = start("--load-ms", "20", "--first-token-ms", "2")

    async def scene() -> Counter[str]:
        done = asyncio.Event()
        asking = asyncio.create_task(asked_until(gateway, done, engine_names))
        for switch in range(SWITCHES):
            version = versions[(switch + 1) % 3].version
            await asyncio.to_thread(home.names.want, "bot", version)
            await asyncio.to_thread(eventually, lambda version=version: home.current("bot").version == version)
            assert not asking.done(), asking.exception()
        done.set()
        return await asking

    seen = asyncio.run(scene())
    assert set(seen) == set(engine_names)
    assert seen.total() > SWITCHES
    assert gateway.metric('graft_broken_answers_total{model="bot"}') == 0
    moves = Counter(move.what for move in home.names.moves("bot"))
    assert moves == {"promoted": SWITCHES + 1, "wanted": SWITCHES}


def test_two_gateways_on_one_registry_agree_on_every_name(home: Home) -> None:
    first = home.publish("bot", seed=1)
    with ExitStack() as started:
        one = started.enter_context(gateway_on(home))
        other_place = home.path.parent / "other"
        other_place.mkdir()
        other = started.enter_context(gateway_on(home, socket=other_place / "g.sock", GRAFT_STORAGE_RUNTIME=str(other_place)))

        def answers(gateway: Gateway, model: str) -> str | None:
            with gateway.http() as client:
                return client.post("/v1/chat/completions", json=body(model)).headers.get("x-graft-model")

        assert answers(one, "bot") == answers(other, "bot") == "bot@1"
        home.names.want("bot", home.publish("bot", seed=2, promote=False).version)
        eventually(lambda: home.current("bot").version == 2)
        eventually(lambda: {answers(one, "bot"), answers(other, "bot")} == {"bot@2"})
        assert answers(other, "bot@1") == "bot@1"
        folder = home.registry.folder(first)
        home.names.forget_version("bot", 1)
        eventually(lambda: not folder.exists())
        assert {answers(one, "bot@1"), answers(other, "bot@1")} == {None}
        assert len(home.retirement.alive()) == 2


@pytest.mark.parametrize("kill_after_loads", [0, 1])
def test_a_gateway_killed_in_the_middle_of_a_promotion_leaves_it_to_the_next(
    home: Home, start: Start, kill_after_loads: int
) -> None:
    home.publish("bot", seed=1)
    first = start("--load-ms", "400")
    second = home.publish("bot", seed=2, promote=False)
    home.names.want("bot", second.version)
    if kill_after_loads:
        eventually(lambda: first.stub()["reads"] != {})
    os.killpg(first.process.pid, signal.SIGKILL)
    first.process.wait()
    pointer = home.current("bot")
    assert (pointer.version, pointer.wanted) in {(1, 2), (2, None)}, "the old state or the new, nothing between"
    first.socket.unlink()
    gateway = start("--load-ms", "0")
    eventually(lambda: home.current("bot").version == 2)
    with gateway.http() as client:
        assert client.post("/v1/chat/completions", json=body("bot@1")).headers["x-graft-model"] == "bot@1"
        eventually(lambda: client.post("/v1/chat/completions", json=body("bot")).headers["x-graft-model"] == "bot@2")
