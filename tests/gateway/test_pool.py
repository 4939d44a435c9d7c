"""Adapters are brought to engines when wanted, once, and again after a restart; what cannot be served says why."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest

from adapters.adapted_model import AdaptedModel, AdapterRef
from adapters.errors import GraftError, NotFound, Unavailable, Unservable
from gateway import settings as settings_table
from gateway.engines import holdings
from gateway.engines.pool import Pool
from gateway.telemetry import Telemetry
from tests.flows.serving import free_port
from tests.gateway.conftest import BASE, Home, eventually, lora_folder

PLAIN = AdaptedModel(BASE, 0, BASE)


def with_pool(
    home: Home, scene: Callable[[Pool], Awaitable[None]], *, flags: tuple[str, ...] = (), replicas: int = 1,
    urls: tuple[str, ...] = (), **engine: int,
) -> None:  # fmt: skip
    variables = {"GRAFT_STORAGE_HOME": str(home.path), "GRAFT_ENGINE_KIND": "stub"}
    overrides = {f"engine_{name}": value for name, value in engine.items()}
    bases = (settings_table.BaseSetting(BASE, BASE, flags, replicas, urls),)
    settings = settings_table.load(environment=variables, overrides=overrides | {"bases": bases})

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
    monkeypatch.setattr(holdings, "FIRST_BACKOFF_S", 0.3)
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


def test_no_more_is_held_than_the_engine_keeps_in_memory_and_the_least_recently_used_goes(home: Home) -> None:
    models = [home.publish(f"bot{n}", seed=n) for n in range(4)]

    async def scene(pool: Pool) -> None:
        for model in (*models[:3], models[0], models[3]):
            await leased(pool, model)
        held = {models[2].engine_name, models[0].engine_name, models[3].engine_name}
        assert set(pool.engine_state()[BASE][0]["adapters"]) == held
        async with pool.lease(PLAIN) as replica:
            assert await replica.client.listed() == {BASE, *held}

    with_pool(home, scene, max_loras=2, max_cpu_loras=3)


def test_more_adapters_than_slots_wait_their_turn_and_the_base_does_not(home: Home) -> None:
    models = [home.publish(f"bot{n}", seed=n) for n in range(3)]

    async def scene(pool: Pool) -> None:
        async with pool.lease(models[0]), pool.lease(models[1]):
            third = asyncio.create_task(leased(pool, models[2]))
            await leased(pool, PLAIN)
            while pool.engine_state()[BASE][0]["waiting"] != {models[2].engine_name: 1}:
                assert not third.done()
                await asyncio.sleep(0)
        await third

    with_pool(home, scene, max_loras=2)


def test_a_retired_adapter_is_let_go_when_its_last_answer_ended(home: Home) -> None:
    model = home.publish("bot")

    async def scene(pool: Pool) -> None:
        async with pool.lease(model) as replica:
            retiring = asyncio.create_task(pool.retire(model.engine_name))
            await leased(pool, PLAIN)
            assert not retiring.done()
            assert replica.holds(model.engine_name)
        await retiring
        assert not replica.holds(model.engine_name)
        assert await replica.client.listed() == {BASE}

    with_pool(home, scene)


def test_an_adapter_somebody_else_unloaded_is_loaded_again_for_the_next_question(home: Home) -> None:
    model = home.publish("bot")

    async def scene(pool: Pool) -> None:
        async with pool.lease(model) as replica:
            await replica.client.unload(model.engine_name)
            await replica.lost()
            assert not replica.holds(model.engine_name)
        await leased(pool, model)
        assert replica.holds(model.engine_name)

    with_pool(home, scene)


def test_a_question_that_one_replica_lost_goes_to_the_other(home: Home) -> None:
    model = home.publish("bot")

    async def scene(pool: Pool) -> None:
        await asyncio.gather(*(leased(pool, PLAIN) for _ in range(8)))
        async with pool.lease(model) as one, pool.lease(model, avoid=one) as other:
            assert one is not other
            assert one.holds(model.engine_name)
            assert other.holds(model.engine_name)

    with_pool(home, scene, replicas=2)


def test_an_engine_elsewhere_is_watched_and_given_its_adapters_again_but_never_started_here(home: Home) -> None:
    model, port = home.publish("bot"), free_port()
    argv = [sys.executable, "-m", "gateway.engines.stub", "--port", str(port), "--served-model-name", BASE]
    engines = [subprocess.Popen(argv)]

    async def scene(pool: Pool) -> None:
        await leased(pool, model)
        (before,) = pool.engine_state()[BASE]
        assert (before["state"], before["pid"], before["adapters"]) == ("ready", None, [model.engine_name])
        engines[0].kill()
        await asyncio.to_thread(engines[0].wait)
        await asyncio.to_thread(eventually, lambda: pool.engine_state()[BASE][0]["state"] == "unreachable")
        engines.append(await asyncio.to_thread(subprocess.Popen, argv))
        await asyncio.to_thread(eventually, lambda: pool.engine_state()[BASE][0]["adapters"] == [model.engine_name])
        async with pool.lease(model) as replica:
            assert await replica.client.listed() == {BASE, model.engine_name}

    try:
        with_pool(home, scene, replicas=0, urls=(f"http://127.0.0.1:{port}",))
        assert engines[1].poll() is None, "who started it ends it"
    finally:
        for engine in engines:
            engine.kill()
            engine.wait()


def test_what_cannot_be_served_says_why_without_asking_an_engine(home: Home) -> None:
    cases: list[tuple[AdaptedModel, type[GraftError], str]] = [
        (AdaptedModel("bot", 1, "elsewhere"), NotFound, "not served here"),
        (
            dataclasses.replace(PLAIN, name="bot", adapter=AdapterRef("soft_prompt", "0" * 64)),
            Unservable,
            "publish it again",
        ),
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
