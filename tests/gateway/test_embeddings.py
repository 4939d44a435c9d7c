"""/v1/embeddings through the unmodified `openai` client, beside sentence-transformers itself; the real encoder, on a CPU."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from adapters.embedded import encoder_folder
from adapters.retrieval.encoder import Encoder
from gateway.retrieval import child
from gateway.retrieval.client import encode
from tests.gateway.conftest import BASE, Gateway, Home, eventually, gateway_on

TEXTS = ["Paris is the capital of France.", "A cat sat on the mat.", "pip installs packages", "x" * 30, "Ünïcödé 🙂"]

NEARLY = 0.999
"""Cosine to what sentence-transformers gives: the child computes in bf16 where the processor does."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("embeddings")
    (root / "home").mkdir()
    with gateway_on(Home(root / "home", root / "made")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def plain() -> Encoder:
    return Encoder(encoder_folder())


def child_socket(gateway: Gateway) -> Path:
    return gateway.engine_socket.with_name(f"{child.NAME}.sock")


def child_pid(gateway: Gateway) -> int:
    return int(child_socket(gateway).with_suffix(".pid").read_text())


def vectors_of(answer: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array([row.embedding for row in answer.data], dtype=np.float32)


def test_nobody_who_asks_for_no_vectors_pays_for_an_encoder(gateway: Gateway) -> None:
    gateway.openai().chat.completions.create(model=BASE, messages=[{"role": "user", "content": "hi"}])
    assert "minilm" in {model.id for model in gateway.openai().models.list()}
    assert not child_socket(gateway).exists()


@pytest.mark.parametrize("encoding_format", [None, "float", "base64"])
def test_vectors_are_those_of_sentence_transformers(gateway: Gateway, plain: Encoder, encoding_format: Any) -> None:
    """None: as the client asks by itself, which is base64."""
    more = {} if encoding_format is None else {"encoding_format": encoding_format}
    answer = gateway.openai().embeddings.create(model="minilm", input=TEXTS, **more)
    assert [row.index for row in answer.data] == list(range(len(TEXTS)))
    if encoding_format == "base64":
        import base64

        found = np.stack([np.frombuffer(base64.b64decode(str(row.embedding)), dtype="<f4") for row in answer.data])
    else:
        found = vectors_of(answer)
    assert (np.sum(found * plain.encode(TEXTS), axis=1) > NEARLY).all()
    assert answer.model == "minilm"
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(each.read for each in plain.counted(TEXTS))


def test_one_text_is_one_vector_of_length_1(gateway: Gateway) -> None:
    answer = gateway.openai().embeddings.create(model="minilm", input="Hello")
    assert len(answer.data) == 1
    assert np.linalg.norm(vectors_of(answer)) == pytest.approx(1, abs=1e-5)


def test_dimensions_cut_the_vector_and_give_it_length_1_again(gateway: Gateway, plain: Encoder) -> None:
    found = vectors_of(gateway.openai().embeddings.create(model="minilm", input=TEXTS, dimensions=64))
    whole = plain.encode(TEXTS)[:, :64]
    assert found.shape == (len(TEXTS), 64)
    assert np.allclose(found, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=5e-3)


@pytest.mark.parametrize("as_list", [False, True])
def test_token_ids_of_the_encoders_own_vocabulary_are_the_text_they_stand_for(gateway: Gateway, as_list: bool) -> None:
    client = gateway.openai()
    ids = [101, 7592, 2088, 102]  # [CLS] hello world [SEP]
    by_ids = client.embeddings.create(model="minilm", input=[ids] if as_list else ids)
    by_text = client.embeddings.create(model="minilm", input="hello world")
    assert len(by_ids.data) == 1
    assert np.allclose(vectors_of(by_ids), vectors_of(by_text), atol=5e-3)


@pytest.mark.parametrize(
    ("wrong", "param", "said"),
    [
        ({"input": []}, "input", "empty list"),
        ({"input": ""}, "input", "empty"),
        ({"input": ["a", ""]}, "input[1]", "empty"),
        ({"input": ["a", 3]}, "input[1]", "number among texts"),
        ({"input": [[1, 999_999]]}, "input", "999999"),
        ({"input": ["x"] * 2049}, "input", "2,048"),
        ({"input": {"text": "x"}}, "input", "object"),
        ({"input": "x", "dimensions": 385}, "dimensions", "384"),
        ({"input": "x", "dimensions": 0}, "dimensions", "from 1"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format", "int8"),
    ],
)
def test_a_wrong_request_is_refused_with_the_field_named(
    gateway: Gateway, wrong: dict[str, Any], param: str, said: str
) -> None:
    with gateway.http() as client:
        answer = client.post("/v1/embeddings", json={"model": "minilm", **wrong})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert said in answer.json()["error"]["message"]


def test_a_text_beyond_the_window_is_refused_by_its_place_and_size_or_cut_where_that_is_asked_for(
    gateway: Gateway, plain: Encoder
) -> None:
    client, long = gateway.openai(), "word " * 400
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="minilm", input=["short", long])
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "input[1]"
    assert "402 tokens" in caught.value.message
    assert "256" in caught.value.message
    cut = client.embeddings.create(model="minilm", input=long, extra_body={"truncate_prompt_tokens": -1})
    assert float((vectors_of(cut) @ plain.encode([long]).T).item()) > NEARLY


@pytest.mark.parametrize("name", [BASE, "nobody"])
def test_another_model_is_not_found_and_the_encoder_is_named(gateway: Gateway, name: str) -> None:
    with pytest.raises(openai.NotFoundError, match="'minilm'") as caught:
        gateway.openai().embeddings.create(model=name, input="x")
    assert caught.value.code == "model_not_found"


def test_the_encoder_is_among_the_models_with_its_window_once_it_is_known(gateway: Gateway) -> None:
    gateway.openai().embeddings.create(model="minilm", input="x", dimensions=8)
    card = gateway.openai().models.retrieve("minilm")
    assert (card.owned_by, card.max_model_len) == ("graft", 256)  # type: ignore[attr-defined]


def test_requests_and_tokens_are_counted(gateway: Gateway) -> None:
    tokens = 'graft_tokens_total{model="minilm",type="prompt"}'
    before = gateway.metric(tokens)
    used = gateway.openai().embeddings.create(model="minilm", input=["counted", "twice counted"]).usage.prompt_tokens
    assert gateway.metric(tokens) == before + used
    assert gateway.metric('graft_requests_total{model="minilm",route="/v1/embeddings",status="200"}') > 0


def test_a_worker_without_an_event_loop_gets_the_same_vectors_over_the_socket(gateway: Gateway, plain: Encoder) -> None:
    gateway.openai().embeddings.create(model="minilm", input="start")
    found = encode(child_socket(gateway), TEXTS)
    assert (np.sum(found.vectors * plain.encode(TEXTS), axis=1) > NEARLY).all()


def test_an_encoder_killed_in_the_middle_of_a_request_is_asked_once_more(gateway: Gateway) -> None:
    gateway.openai().embeddings.create(model="minilm", input="start")
    restarts = gateway.metric('graft_engine_restarts_total{base="encoder"}')
    texts = [f"{number} " + "many words to encode " * 20 for number in range(80)]  # more than a second of work

    async def ask() -> Any:
        async with gateway.async_openai() as client:
            asking = asyncio.create_task(client.embeddings.create(model="minilm", input=texts))
            await asyncio.to_thread(eventually, lambda: gateway.metric('graft_inflight{model="minilm"}') == 1)
            os.kill(child_pid(gateway), signal.SIGKILL)
            return await asyncio.wait_for(asking, 60)

    assert len(asyncio.run(ask()).data) == 80
    assert gateway.metric('graft_engine_restarts_total{base="encoder"}') == restarts + 1


def test_a_caller_who_leaves_takes_along_what_was_not_begun(gateway: Gateway) -> None:
    client = gateway.openai()
    client.embeddings.create(model="minilm", input="start")
    texts = [f"{number} nobody waits for this " + "any more " * 110 for number in range(1500)]  # minutes of work
    with gateway.http() as http, pytest.raises(httpx.ReadTimeout):
        http.post("/v1/embeddings", json={"model": "minilm", "input": texts}, timeout=2)
    eventually(lambda: gateway.metric('graft_inflight{model="minilm"}') == 0)
    # bulk as well, so it would wait behind what was left
    assert len(client.embeddings.create(model="minilm", input=[f"bulk {n}" for n in range(20)], timeout=15).data) == 20
