"""A head behind its name: proven before the name moves, a label as the answer, probabilities as logprobs."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from adapters.bases import facts
from adapters.classifier import HEAD
from adapters.registry import Registry
from adapters.tuning import run
from adapters.tuning.recipe import defaults
from adapters.tuning.request import RunRequest, create
from tests import tiny
from tests.gateway.conftest import BASE, Gateway, Home, eventually, gateway_on

PARCEL: Any = [{"role": "system", "content": "Sort."}, {"role": "user", "content": "my parcel and the courier"}]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("labels")
    (root / "home").mkdir()
    home = Home(root / "home", root / "made")
    folder = tiny.tiny_llama(root / "base")
    data = root / "labelled.jsonl"
    data.write_text("".join(json.dumps({"text": q, "label": a}) + "\n" for q, a in tiny.rows(60)))
    create(root / "run", RunRequest("router", BASE, folder, home.path / "models", defaults("head", 60, facts(folder))), data)
    result = run.execute(root / "run")
    registry = Registry(home.path / "models")
    published = registry.publish(registry.read("router", result.digest12))
    with gateway_on(home, model=folder) as gateway:
        home.names.want("router", published.version)
        eventually(lambda: home.current("router").version == published.version, 60)
        yield gateway


def test_the_answer_is_the_label(gateway: Gateway) -> None:
    answer = gateway.openai().chat.completions.create(model="router", messages=PARCEL)
    assert answer.choices[0].message.content == "delivery"
    assert (answer.model, answer.choices[0].finish_reason, answer.choices[0].logprobs) == ("router", "stop", None)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 1


def test_its_probability_and_the_others_stand_in_logprobs(gateway: Gateway) -> None:
    answer = gateway.openai().chat.completions.create(model="router", messages=PARCEL, logprobs=True, top_logprobs=4)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    (token,) = logprobs.content
    assert token.token == "delivery"
    assert {top.token for top in token.top_logprobs} == set(tiny.TOPICS)
    assert sum(math.exp(top.logprob) for top in token.top_logprobs) == pytest.approx(1, abs=1e-4)


def test_it_streams_as_any_model_does(gateway: Gateway) -> None:
    chunks = list(
        gateway.openai().chat.completions.create(
            model="router", messages=PARCEL, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "delivery"
    assert chunks[-1].usage is not None
    assert {chunk.model for chunk in chunks} == {"router"}


def test_many_questions_at_once_each_get_their_own_label(gateway: Gateway) -> None:
    import asyncio

    asked = tiny.rows(40)

    async def ask_all() -> list[str | None]:
        async with gateway.async_openai() as client:

            async def ask(question: str) -> str | None:
                said: Any = [{"role": "user", "content": question}]
                return (await client.chat.completions.create(model="router", messages=said)).choices[0].message.content

            return await asyncio.gather(*(ask(question) for question, _ in asked))

    assert asyncio.run(ask_all()) == [topic for _, topic in asked]


SENSELESS: dict[str, dict[str, Any]] = {
    "two answers": {"n": 2},
    "tools": {"tools": [{"type": "function", "function": {"name": "f"}}]},
    "a schema": {"response_format": {"type": "json_object"}},
    "too many": {"logprobs": True, "top_logprobs": 50},
}


@pytest.mark.parametrize("case", SENSELESS)
def test_what_a_label_cannot_be_asked_is_refused_by_name(gateway: Gateway, case: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        gateway.openai().chat.completions.create(model="router", messages=PARCEL, **SENSELESS[case])
    assert next(reversed(SENSELESS[case])) in str(refused.value)


def test_nothing_to_label_is_refused(gateway: Gateway) -> None:
    with pytest.raises(openai.BadRequestError, match="no message of the user"):
        gateway.openai().chat.completions.create(model="router", messages=[{"role": "system", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match="use chat completions"):
        gateway.openai().completions.create(model="router", prompt="x")


def test_a_killed_classifier_comes_back_with_its_heads(gateway: Gateway) -> None:
    with gateway.http() as client:
        (replica,) = client.get("/v1/graft/engines").json()["bases"][f"{BASE}.heads"]["replicas"]
    assert len(replica["adapters"]) == 1
    os.kill(replica["pid"], signal.SIGKILL)
    answer = gateway.openai().chat.completions.create(model="router", messages=PARCEL)
    assert answer.choices[0].message.content == "delivery"


def test_a_head_that_does_not_answer_as_it_was_trained_does_not_take_the_name(gateway: Gateway) -> None:
    from safetensors.torch import load_file, save_file

    registry = gateway.home.registry
    good = registry.load("router", 1)
    published = registry.publish(registry.add(dataclasses.replace(good, name="torn"), registry.adapter_folder(good)))
    weights = registry.adapter_folder(published) / HEAD
    tensors = load_file(weights)
    save_file({"weight": -tensors["weight"], "bias": tensors["bias"]}, weights)
    gateway.home.names.want("torn", published.version)
    eventually(lambda: gateway.home.current("torn").wanted is None, 30)
    assert gateway.home.current("torn").version is None
    assert "off those it was trained to give" in (gateway.home.current("torn").remark or "")
