"""Every kind of engine does what the gateway relies on. Walks the table, so a new row is tested by existing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from adapters import bases, embedded
from adapters.adapted_model import AdaptedModel
from adapters.errors import InvalidInput, Unservable
from gateway import settings as settings_table
from gateway.engines.client import EngineClient
from gateway.engines.contract import Slots
from gateway.engines.kinds import ENGINES
from gateway.engines.sockets import socket_path
from gateway.serving.compose import read
from gateway.serving.relay import Renaming, Tally, events, refusal, whole
from tests.gateway.conftest import eventually

BASE = "smollm2"
CHAT = "/v1/chat/completions"
STARTS_S = 240

T = TypeVar("T")


@dataclass(frozen=True)
class Engine:
    kind: str
    socket: Path
    adapter: Path
    too_big: Path

    def run(self, scene: Callable[[EngineClient], Awaitable[T]]) -> T:
        async def connected() -> T:
            client = EngineClient(BASE, self.socket)
            try:
                return await scene(client)
            finally:
                await client.close()

        return asyncio.run(connected())

    def get(self, path: str) -> str:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket)), timeout=30) as client:
            return client.get(f"http://engine{path}").text

    @property
    def running(self) -> int:
        """Answers the engine is working on, by its own account."""
        if self.kind == "stub":
            return int(json.loads(self.get("/stub/state"))["running"])
        rows = [row for row in self.get("/metrics").splitlines() if row.startswith("vllm:num_requests_running{")]
        return sum(int(float(row.split()[-1])) for row in rows)


KINDS = [pytest.param(kind, marks=[pytest.mark.engine] if kind == "vllm" else []) for kind in ENGINES]


@pytest.fixture(scope="module", params=KINDS)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    kind, home = str(request.param), tmp_path_factory.mktemp("engine")
    variables = {"GRAFT_STORAGE_HOME": str(home), "GRAFT_ENGINE_MAX_MODEL_LEN": "512"}
    settings = settings_table.load(environment=variables)
    flags = ("--token-ms", "5") if kind == "stub" else ()
    hidden, layers = 8, 1
    if kind != "stub":
        facts = bases.facts(embedded.prepare(BASE, settings.storage_cache))
        hidden, layers = facts.hidden, facts.layers
    socket = socket_path(settings, BASE)
    command = ENGINES[kind](settings, settings_table.BaseSetting(BASE, BASE, flags), socket, Slots(2, 16, 8))
    with (home / "engine.log").open("wb") as log:
        environment = {**os.environ, **command.environment}
        process = subprocess.Popen(command.argv, env=environment, stdout=log, stderr=log, start_new_session=True)
    made = Engine(kind, socket, lora(home / "r8", 8, hidden, layers), lora(home / "r64", 64, hidden, layers))
    try:
        eventually(lambda: made.run(EngineClient.health) == 200 or process.poll() is not None, STARTS_S)
        assert process.poll() is None, (home / "engine.log").read_text()[-4000:]
        yield made
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def lora(folder: Path, rank: int, hidden: int, layers: int) -> Path:
    """A PEFT folder with random weights for every q_proj of a decoder whose heads are as wide as its hidden state."""
    folder.mkdir()
    draw, tensors = np.random.default_rng(0), {}
    for layer in range(layers):
        stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{stem}.lora_A.weight"] = draw.normal(0, 0.1, (rank, hidden)).astype(np.float32)
        tensors[f"{stem}.lora_B.weight"] = draw.normal(0, 0.1, (hidden, rank)).astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config | {"bias": "none", "base_model_name_or_path": BASE}))
    return folder


def asked(model: str = BASE, **more: object) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5} | more).encode()


def renaming(model: str = BASE) -> Renaming:
    return Renaming(read(asked("theirs")), AdaptedModel(model, 0, model))


async def chat(client: EngineClient, body: bytes, model: str = BASE, tally: Tally | None = None) -> dict[str, object]:
    async with client.open(CHAT, body) as upstream:
        answer: dict[str, object] = json.loads(await whole(upstream, renaming(model), tally or Tally()))
    return answer


@asynccontextmanager
async def loaded(client: EngineClient, name: str, folder: Path) -> AsyncIterator[None]:
    await client.load(name, folder)
    try:
        yield
    finally:
        await client.unload(name)


def test_it_answers_for_its_base_under_the_callers_name(engine: Engine) -> None:
    tally = Tally()
    answer = engine.run(lambda client: chat(client, asked(), tally=tally))
    assert answer["model"] == "theirs"
    assert tally.usage is not None
    assert tally.usage.completion_tokens == 5
    assert engine.run(EngineClient.listed) == {BASE}


def test_an_adapter_is_loaded_listed_asked_and_unloaded(engine: Engine) -> None:
    async def scene(client: EngineClient) -> None:
        async with loaded(client, "bot--1", engine.adapter):
            assert await client.listed() == {BASE, "bot--1"}
            assert (await chat(client, asked("bot--1"), "bot--1"))["model"] == "theirs"
        assert await client.listed() == {BASE}
        async with client.open(CHAT, asked("bot--1")) as upstream:
            assert upstream.status == 404

    engine.run(scene)


def test_loading_again_and_unloading_again_change_nothing(engine: Engine) -> None:
    async def scene(client: EngineClient) -> None:
        async with loaded(client, "bot--2", engine.adapter):
            await client.load("bot--2", engine.adapter)
        await client.unload("bot--2")

    engine.run(scene)


def test_an_adapter_that_cannot_be_served_is_refused_with_the_reason_and_without_paths(engine: Engine) -> None:
    async def refused(client: EngineClient, folder: Path) -> str:
        with pytest.raises(Unservable) as caught:
            await client.load("bad--1", folder)
        assert await client.listed() == {BASE}
        return caught.value.message

    rank = engine.run(lambda client: refused(client, engine.too_big))
    assert "rank 64" in rank
    assert "max_lora_rank" in rank
    missing = engine.run(lambda client: refused(client, engine.adapter.parent / "missing"))
    assert "No adapter found" in missing
    assert str(engine.adapter.parent) not in missing


@pytest.mark.parametrize("wants_usage", [True, False])
def test_a_stream_is_whole_events_a_count_and_an_end(engine: Engine, wants_usage: bool) -> None:
    async def scene(client: EngineClient) -> tuple[bytes, Tally]:
        tally = Tally()
        body = asked(stream=True, stream_options={"include_usage": True})
        async with client.open(CHAT, body) as upstream:
            coming = events(upstream, renaming(), tally, wants_usage=wants_usage, idle_timeout_s=60)
            return b"".join([event async for event in coming]), tally

    said, tally = engine.run(scene)
    lines = said.decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    assert {chunk["model"] for chunk in chunks} == {"theirs"}
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [chunk for chunk in chunks if not chunk["choices"]] == ([chunks[-1]] if wants_usage else [])
    assert tally.usage is not None
    assert tally.usage.completion_tokens == 5


def test_its_refusals_are_understood(engine: Engine) -> None:
    async def refused(client: EngineClient, body: bytes) -> tuple[str, str | None]:
        async with client.open(CHAT, body) as upstream:
            error = refusal(upstream.status, await upstream.read(), renaming())
        assert isinstance(error, InvalidInput)
        return error.code, error.param

    def understood(**more: object) -> tuple[str, str | None]:
        return engine.run(lambda client: refused(client, asked(**more)))

    assert understood(messages=[{"role": "user", "content": "word " * 600}])[0] == "context_length_exceeded"
    assert understood(max_tokens=5000) == ("invalid_value", "max_tokens")
    assert understood(temperature="hot") == ("invalid_value", "temperature")
    assert understood(messages="hi") == ("invalid_value", "messages")


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_ends_its_work(engine: Engine, stream: bool) -> None:
    async def scene(client: EngineClient) -> None:
        body = asked(stream=stream, max_tokens=450, ignore_eos=True)
        asking = asyncio.create_task(chat(client, body) if not stream else _first_event(client, body))
        await asyncio.to_thread(eventually, lambda: engine.running == 1 or asking.done())
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    engine.run(scene)
    # far sooner than the answer would have taken
    eventually(lambda: engine.running == 0, 1.5)


async def _first_event(client: EngineClient, body: bytes) -> None:
    async with client.open(CHAT, body) as upstream:
        await upstream.content.readany()
