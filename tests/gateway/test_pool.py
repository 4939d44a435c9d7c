"""Adapters are brought to engines when wanted, once, and again after a restart; what cannot be served says why."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from adapters.adapted_model import AdaptedModel, AdapterRef, RetrievalSpec
from adapters.errors import GraftError, NotFound, Unavailable, Unservable
from gateway import settings as settings_table
from gateway.engines import pool as pool_module
from gateway.engines.placement import choose
from gateway.engines.pool import Pool
from gateway.telemetry import Telemetry
from tests.gateway.conftest import BASE, Home, eventually, lora_folder

PLAIN = AdaptedModel(BASE, 0, BASE)


def with_pool(home: Home, scene: Callable[[Pool], Awaitable[None]], *, flags: tuple[str, ...] = ()) -> None:
    variables = {"GRAFT_STORAGE_HOME": str(home.path), "GRAFT_ENGINE_KIND": "stub"}
    bases = (settings_table.BaseSetting(BASE, BASE, flags),)
    settings = settings_table.load(environment=variables, overrides={"bases": bases})

    async def run() -> None:
        pool = Pool(settings, home.registry, Telemetry(), ready_wait_s=20)
        await pool.start()
        try:
            await scene(pool)
        finally:
            await pool.stop()

    asyncio.run(run())


async def leased(pool: Pool, model: AdaptedModel) -> None:
    async with pool.lease(model):
        pass


def test_a_restarted_engine_is_given_its_adapters_again(home: Home) -> None:
    model = home.publish("bot")

    async def scene(pool: Pool) -> None:
        await leased(pool, model)
        (before,) = pool.engine_state()[BASE]
        assert before["adapters"] == [model.engine_name]
        os.kill(before["pid"], signal.SIGKILL)
        await asyncio.to_thread(eventually, lambda: not pool.is_ready)
        async with pool.lease(model) as replica:
            assert await replica.client.listed() == {BASE, model.engine_name}
        (after,) = pool.engine_state()[BASE]
        assert (before["starts"], after["starts"]) == (1, 2)

    with_pool(home, scene)


def test_answers_under_way_are_counted_by_engine_name(home: Home) -> None:
    model = home.publish("bot")

    async def scene(pool: Pool) -> None:
        async with pool.lease(model), pool.lease(model), pool.lease(PLAIN):
            assert pool.engine_state()[BASE][0]["in_flight"] == {model.engine_name: 2, BASE: 1}
        assert pool.engine_state()[BASE][0]["in_flight"] == {}

    with_pool(home, scene)


def test_a_refusal_is_remembered_for_a_while_only(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "FAILURE_KEPT_S", 0.3)
    bad, good = home.publish("bad", rank=128), home.publish("good", seed=1)

    async def scene(pool: Pool) -> None:
        with pytest.raises(Unservable, match="rank 128"):
            await leased(pool, bad)
        lora_folder(home.scratch / "mended")
        config = home.scratch / "mended" / "adapter_config.json"
        os.replace(config, home.registry.adapter_folder(bad) / "adapter_config.json")
        with pytest.raises(Unservable, match="rank 128"):
            await leased(pool, bad)
        await leased(pool, good)
        await asyncio.sleep(0.5)
        await leased(pool, bad)

    with_pool(home, scene)


def test_what_cannot_be_served_says_why_without_asking_an_engine(home: Home) -> None:
    cases: list[tuple[AdaptedModel, type[GraftError], str]] = [
        (AdaptedModel("bot", 1, "elsewhere"), NotFound, "not served here"),
        (dataclasses.replace(PLAIN, name="bot", adapter=AdapterRef("soft_prompt", "0" * 64)), Unservable, "LoRA only"),
        (dataclasses.replace(PLAIN, name="bot", retrieval=RetrievalSpec("docs")), Unservable, "documents"),
        (
            dataclasses.replace(PLAIN, name="bot", adapter=AdapterRef("lora", "0" * 64, 8)),
            Unservable,
            "publish the model again",
        ),
    ]

    async def scene(pool: Pool) -> None:
        for model, kind, words in cases:
            with pytest.raises(kind, match=words):
                await leased(pool, model)

    with_pool(home, scene)


def test_a_pool_that_is_not_running_is_unavailable(home: Home) -> None:
    settings = settings_table.load(environment={"GRAFT_STORAGE_HOME": str(home.path)})
    pool = Pool(settings, home.registry, Telemetry())
    assert not pool.is_ready
    with pytest.raises(Unavailable):
        asyncio.run(leased(pool, PLAIN))


def test_a_request_waits_for_an_engine_that_is_starting_but_not_for_ever(home: Home) -> None:
    async def scene(pool: Pool) -> None:
        pool._ready_wait_s = 0.1
        with pytest.raises(Unavailable, match="starting"):
            await leased(pool, PLAIN)
        pool._ready_wait_s = 20
        await leased(pool, PLAIN)

    with_pool(home, scene, flags=("--start-ms", "700"))


@dataclass
class Standing:
    busy: int
    held: tuple[str, ...] = ()

    def holds(self, engine_name: str) -> bool:
        return engine_name in self.held


def test_the_replica_that_has_the_adapter_is_chosen_else_the_least_busy() -> None:
    idle, busy, holding = Standing(0), Standing(5), Standing(3, ("bot--1",))
    assert choose([busy, idle, holding], "bot--1") is holding
    assert choose([busy, idle, holding], "other--1") is idle
    assert choose([busy], "other--1") is busy
