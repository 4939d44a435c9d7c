"""What callers of the OpenAI API get, with the real client, from a gateway in front of a stub engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import openai
import pytest

from gateway.engines.kinds import ENGINES
from tests.gateway.conftest import BASE, Gateway, Home

HI = [{"role": "user", "content": "hi"}]


def test_models_lists_bases_and_published_names(shared: Gateway) -> None:
    cards = {card.id: card for card in shared.openai().models.list()}
    assert set(cards) == {BASE, "minilm", "advisor", "clipped", "too-big", "prompted", "sampled"}
    assert (cards[BASE].root, cards[BASE].parent) == (BASE, None)
    assert (cards["clipped"].root, cards["clipped"].parent) == (BASE, BASE)
    assert cards["clipped"].owned_by == "graft"
    assert cards["clipped"].max_model_len == 300


def test_one_model_by_its_name_or_pinned(shared: Gateway) -> None:
    client = shared.openai()
    assert client.models.retrieve("clipped").id == "clipped"
    assert client.models.retrieve("clipped@1").id == "clipped@1"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("clipped@7")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("name", [BASE, "clipped", "clipped@1"])
def test_a_chat_answers_under_the_name_it_was_asked_by(shared: Gateway, name: str) -> None:
    answer = shared.openai().chat.completions.create(model=name, messages=HI)
    assert answer.model == name
    assert answer.system_fingerprint == "graft-stub"
    assert "stub" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


@pytest.mark.parametrize("name", [BASE, "clipped"])
def test_a_stream_carries_the_same_text_under_the_same_name(shared: Gateway, name: str) -> None:
    client = shared.openai()
    whole = client.chat.completions.create(model=name, messages=HI).choices[0].message.content
    chunks = list(client.chat.completions.create(model=name, messages=HI, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    assert {chunk.model for chunk in chunks} == {name}
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stream_ends_with_usage_only_for_those_who_ask(shared: Gateway) -> None:
    def chunks(**options: object) -> list[openai.types.chat.ChatCompletionChunk]:
        return list(shared.openai().chat.completions.create(model=BASE, messages=HI, stream=True, max_tokens=3, **options))

    asked = chunks(stream_options={"include_usage": True})
    assert asked[-1].choices == []
    assert asked[-1].usage is not None
    assert asked[-1].usage.completion_tokens == 3
    for options in ({}, {"stream_options": {"include_usage": False}}):
        assert all(chunk.choices and chunk.usage is None for chunk in chunks(**options))


def test_plain_completions_are_answered_too(shared: Gateway) -> None:
    client = shared.openai()
    assert client.completions.create(model="clipped", prompt="hi", max_tokens=4).model == "clipped"
    words = list(client.completions.create(model="clipped", prompt="hi", max_tokens=4, stream=True))
    assert len(words) == 4


def test_headers_tell_the_version_and_the_request(shared: Gateway) -> None:
    raw = shared.openai().chat.completions.with_raw_response
    answer = raw.create(model="clipped", messages=HI, extra_headers={"x-request-id": "ours-1"})
    assert answer.headers["x-graft-model"] == "clipped@1"
    assert answer.headers["x-request-id"] == "ours-1"
    made_up = raw.create(model=BASE, messages=HI, extra_headers={"x-request-id": "no spaces"}).headers["x-request-id"]
    assert len(made_up) == 32


def test_a_prompt_goes_around_the_conversation(shared: Gateway) -> None:
    shared.openai().chat.completions.create(model="prompted", messages=[{"role": "system", "content": "Ours."}, *HI])
    said = json.loads(shared.stub()["last_body"])["messages"]
    assert [(m["role"], m["content"]) for m in said] == [
        ("system", "Be brief.\n\nOurs."),
        ("user", "2+2?"),
        ("assistant", "4"),
        ("user", "hi"),
    ]


def test_defaults_of_the_model_yield_to_what_the_caller_says(shared: Gateway) -> None:
    client = shared.openai()
    client.chat.completions.create(model="sampled", messages=HI)
    sent = json.loads(shared.stub()["last_body"])
    assert (sent["temperature"], sent["max_tokens"], sent["stop"]) == (0.25, 5, ["END"])
    client.chat.completions.create(model="sampled", messages=HI, temperature=1.0, max_completion_tokens=7)
    sent = json.loads(shared.stub()["last_body"])
    assert (sent["temperature"], sent["max_completion_tokens"]) == (1.0, 7)
    assert "max_tokens" not in sent


@pytest.mark.parametrize("name", ["nope", "clipped@9", "clipped--0123456789ab", "../clipped", ""])
def test_an_unknown_model_is_not_found(shared: Gateway, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        shared.openai().chat.completions.create(model=name, messages=HI)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": 3}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [*HI, {"role": "user", "content": 5}]}, "messages[1].content"),
        ({"temperature": "hot"}, "temperature"),
        ({"chat_template": "{{ 1 }}"}, "chat_template"),
        ({"messages": [{"role": "user", "content": [{"type": "prompt_embeds", "data": ""}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/x"}}]}]},
            "messages[0].content[0].image_url",
        ),
    ],
)
def test_a_bad_body_is_refused_by_the_name_of_its_field(shared: Gateway, change: dict[str, object], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        shared.openai().post("/chat/completions", body={"model": BASE, "messages": HI} | change, cast_to=object)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b'"hi"', b"\xff", b'{"model": "\xff"}', b"null"])
def test_a_body_that_is_no_json_object_is_refused(shared: Gateway, body: bytes) -> None:
    with shared.http() as client:
        answer = client.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("stream", [False, True])
def test_too_long_is_said_with_openais_code(shared: Gateway, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        shared.openai().chat.completions.create(
            model="clipped", messages=[{"role": "user", "content": "word " * 400}], stream=stream
        )
    assert caught.value.code == "context_length_exceeded"
    assert "300" in str(caught.value)


def test_a_prompt_of_messages_cannot_go_around_a_plain_completion(shared: Gateway) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        shared.openai().completions.create(model="prompted", prompt="hi")
    assert caught.value.code == "unsupported_endpoint"


def test_an_adapter_the_engine_refuses_is_unservable_and_not_tried_at_once_again(shared: Gateway) -> None:
    failed = f'graft_adapter_load_seconds_count{{base="{BASE}",outcome="failed"}}'
    before = shared.metric(failed)
    for _ in range(5):
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            shared.openai().chat.completions.create(model="too-big", messages=HI)
        assert caught.value.code == "unservable_adapter"
        assert "rank 128" in str(caught.value)
    assert shared.metric(failed) == before + 1


@pytest.mark.parametrize(
    "path",
    ["/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/tokenize", "/invocations", "/stub/state", "/version", "/v1/x"],
)
def test_nothing_of_the_engine_shines_through(shared: Gateway, path: str) -> None:
    with shared.http() as client:
        for answer in (client.get(path), client.post(path, json={})):
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == "unknown_url"


def test_a_wrong_method_and_a_body_too_large_are_openai_shaped(home: Home, start: Callable[..., Gateway]) -> None:
    gateway = start(GRAFT_SERVER_MAX_BODY_MIB="1")
    with gateway.http() as client:
        assert client.put("/v1/models").json()["error"]["code"] == "method_not_allowed"
        answer = client.post("/v1/chat/completions", content=b"x" * (2**20 + 1))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_health_and_metrics_speak_of_what_happened(shared: Gateway) -> None:
    answered = f'graft_requests_total{{model="{BASE}",route="/v1/chat/completions",status="200"}}'
    unknown = 'graft_requests_total{model="unknown",route="/v1/chat/completions",status="404"}'
    before = (
        shared.metric(answered),
        shared.metric(unknown),
        shared.metric(f'graft_tokens_total{{model="{BASE}",type="completion"}}'),
    )
    shared.openai().chat.completions.create(model=BASE, messages=HI, max_tokens=3)
    with pytest.raises(openai.NotFoundError):
        shared.openai().chat.completions.create(model="made-up-by-a-caller", messages=HI)
    after = (
        shared.metric(answered),
        shared.metric(unknown),
        shared.metric(f'graft_tokens_total{{model="{BASE}",type="completion"}}'),
    )
    assert after == (before[0] + 1, before[1] + 1, before[2] + 3)
    with shared.http() as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").json() == {"status": "ready", "engines": {BASE: ["ready"]}}
        assert "made-up-by-a-caller" not in client.get("/metrics").text


def test_fifty_first_requests_at_once_load_the_adapter_once(home: Home, start: Callable[..., Gateway]) -> None:
    model = home.publish("bot")
    gateway = start("--load-ms", "200")

    async def ask_all() -> list[str]:
        async with gateway.async_openai() as client:
            asked = [client.chat.completions.create(model="bot", messages=HI) for _ in range(50)]
            return [answer.model for answer in await asyncio.gather(*asked)]

    assert asyncio.run(ask_all()) == ["bot"] * 50
    assert gateway.stub()["reads"] == {model.engine_name: 1}


def test_a_name_published_later_answers_without_a_restart(home: Home, start: Callable[..., Gateway]) -> None:
    gateway = start()
    with pytest.raises(openai.NotFoundError):
        gateway.openai().chat.completions.create(model="bot", messages=HI)
    for seed in (1, 2):
        version = home.publish("bot", seed=seed)
        raw = gateway.openai().chat.completions.with_raw_response
        asyncio.run(asyncio.sleep(0.3))  # a moved pointer is seen within gateway.db.names.FRESH_S
        answer = raw.create(model="bot", messages=HI)
        assert answer.headers["x-graft-model"] == f"bot@{seed}"
        assert json.loads(gateway.stub()["last_body"])["model"] == version.engine_name


def test_off_loopback_a_key_is_needed(home: Home, start: Callable[..., Gateway]) -> None:
    gateway = start(GRAFT_SERVER_HOST="0.0.0.0", GRAFT_SERVER_API_KEY="right")
    assert gateway.openai("right").models.list().data
    for wrong in ("wrong", "righ", "right2"):
        with pytest.raises(openai.AuthenticationError) as caught:
            gateway.openai(wrong).models.list()
        assert caught.value.code == "invalid_api_key"
    with gateway.http() as client:
        assert client.post("/v1/chat/completions", json={"model": BASE, "messages": HI}).status_code == 401
        assert client.get("/metrics").status_code == 401
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 200


def test_the_stub_is_never_what_one_gets_unasked() -> None:
    from gateway import settings

    assert "stub" in ENGINES
    assert settings.load(environment={}).engine_kind == "vllm"


def test_a_stream_is_told_to_proxies_as_one(shared: Gateway) -> None:
    body = {"model": BASE, "messages": HI, "stream": True}
    with shared.http() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"
        assert "".join(answer.iter_text()).endswith("data: [DONE]\n\n")


def test_fields_graft_does_not_know_reach_the_engine_byte_for_byte(shared: Gateway) -> None:
    odd = '{"b": 1e-07,  "a":[1.0, "\\u00e9\\/"]}'
    body = f'{{"model": "{BASE}", "messages": [{{"role": "user", "content": "hi"}}], "structured_outputs": {odd}}}'
    with shared.http() as client:
        answer: httpx.Response = client.post("/v1/chat/completions", content=body.encode())
    assert answer.status_code == 200
    assert f'"structured_outputs":{odd}' in shared.stub()["last_body"]
