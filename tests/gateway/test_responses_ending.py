"""How answers of `/v1/responses` end when somebody goes away: the caller, before and after the first byte, or the engine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from tests.gateway.conftest import BASE, Gateway, Home, eventually, gateway_on


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Its engine says a word every 50 ms, for 25 s."""
    root = tmp_path_factory.mktemp("talkative")
    (root / "home").mkdir()
    with gateway_on(Home(root / "home", root / "made"), "--token-ms", "50", "--says", "word " * 500) as gateway:
        yield gateway


def send(gateway: Gateway, **more: object) -> socket.socket:
    """A caller on a bare socket, so that hanging up is exactly one close()."""
    body = json.dumps({"model": BASE, "input": "hi"} | more).encode()
    head = "POST /v1/responses HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
    caller = socket.socket(socket.AF_UNIX)
    caller.settimeout(10)
    caller.connect(str(gateway.socket))
    caller.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    return caller


def test_a_caller_who_leaves_before_the_first_byte_ends_the_engines_work(start: Callable[..., Gateway]) -> None:
    gateway = start("--first-token-ms", "60000")
    phase = 'graft_client_disconnects_total{phase="before_first_byte"}'
    for number, stream in enumerate((False, True), start=1):
        caller = send(gateway, stream=stream)
        eventually(lambda: gateway.stub()["running"] == 1)
        caller.close()
        eventually(lambda number=number: gateway.stub()["aborted"] == number, 5)
        eventually(lambda number=number: gateway.metric(phase) == number, 5)
    assert gateway.stub()["running"] == 0
    assert gateway.metric(f'graft_inflight{{model="{BASE}"}}') == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_leaves_in_the_middle_ends_it_too(talkative: Gateway, stream: bool) -> None:
    before = talkative.stub()
    caller = send(talkative, stream=stream)
    if stream:
        assert caller.recv(65536).startswith(b"HTTP/1.1 200")
    eventually(lambda: talkative.stub()["running"] == 1)
    caller.close()
    eventually(lambda: talkative.stub()["aborted"] == before["aborted"] + 1, 5)
    assert talkative.stub()["finished"] == before["finished"]


def test_one_who_has_read_it_all_has_not_left(talkative: Gateway) -> None:
    tokens = f'graft_tokens_total{{model="{BASE}",type="completion"}}'
    phase = 'graft_client_disconnects_total{phase="mid_answer"}'
    before, left = talkative.metric(tokens), talkative.metric(phase)
    for _ in range(3):
        list(talkative.openai().responses.create(model=BASE, input="hi", max_output_tokens=4, stream=True))
    eventually(lambda: talkative.metric(tokens) == before + 12, 5)
    assert talkative.metric(phase) == left


def test_a_question_whose_engine_dies_before_the_first_byte_is_asked_once_more(start: Callable[..., Gateway]) -> None:
    gateway = start("--first-token-ms", "700")
    answer = ask_and_kill(gateway, stream=True)
    assert answer.headers["x-graft-model"] == f"{BASE}@0"
    assert gateway.metric(f'graft_retries_total{{model="{BASE}"}}') == 1


def test_a_whole_answer_whose_engine_dies_in_the_middle_is_asked_for_again_and_a_stream_ends_with_an_error(
    talkative: Gateway,
) -> None:
    whole = ask_and_kill(talkative, max_output_tokens=30)
    assert whole.parse().output_text.split() == ["word"] * 30

    stream = talkative.openai().responses.create(model=BASE, input="hi", stream=True)
    seen = [next(stream) for _ in range(6)]
    assert seen[-1].type == "response.output_text.delta"
    os.kill(talkative.engine_pid, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="not complete") as caught:
        list(stream)
    assert caught.value.code == "engine_unavailable"


def ask_and_kill(gateway: Gateway, **more: Any) -> Any:
    """The answer to a question whose engine was killed as soon as it had it."""

    async def ask() -> Any:
        async with gateway.async_openai() as client:
            asking = asyncio.create_task(client.responses.with_raw_response.create(model=BASE, input="hi", **more))
            await asyncio.to_thread(eventually, lambda: gateway.stub()["running"] == 1)
            os.kill(gateway.engine_pid, signal.SIGKILL)
            return await asking

    return asyncio.run(ask())
