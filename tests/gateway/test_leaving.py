"""A caller who hangs up ends the engine's work, whatever stage it is in."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.gateway.conftest import BASE, Gateway, Home, eventually


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Its engine takes a minute to the first word after a long think, and never ends by itself in the time of a test."""
    from tests.gateway.conftest import gateway_on

    root = tmp_path_factory.mktemp("slow")
    (root / "home").mkdir()
    with gateway_on(Home(root / "home", root / "made"), "--first-token-ms", "60000") as gateway:
        yield gateway


def send(gateway: Gateway, **more: object) -> socket.socket:
    """A caller on a bare socket, so that hanging up is exactly one close()."""
    body = json.dumps({"model": BASE, "messages": [{"role": "user", "content": "hi"}]} | more).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
    caller = socket.socket(socket.AF_UNIX)
    caller.settimeout(10)
    caller.connect(str(gateway.socket))
    caller.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    return caller


@pytest.mark.parametrize("stream", [False, True])
def test_before_the_first_byte(slow: Gateway, stream: bool) -> None:
    aborted = slow.stub()["aborted"]
    phase = 'graft_client_disconnects_total{phase="before_first_byte"}'
    counted = slow.metric(phase)
    caller = send(slow, stream=stream)
    eventually(lambda: slow.stub()["running"] == 1)
    caller.close()
    eventually(lambda: slow.stub()["aborted"] == aborted + 1, 5)
    eventually(lambda: slow.metric(phase) == counted + 1, 5)
    assert slow.stub()["running"] == 0
    assert slow.metric(f'graft_inflight{{model="{BASE}"}}') == 0


def test_in_the_middle_of_a_stream(start: Callable[..., Gateway]) -> None:
    gateway = start("--token-ms", "20")
    caller = send(gateway, stream=True, max_tokens=1000, ignore_eos=True)
    assert caller.recv(65536).startswith(b"HTTP/1.1 200")
    caller.close()
    eventually(lambda: gateway.stub()["aborted"] == 1, 5)
    eventually(lambda: gateway.metric('graft_client_disconnects_total{phase="mid_answer"}') == 1, 5)
    assert gateway.stub()["finished"] == 0


def test_one_who_has_read_it_all_has_not_left(start: Callable[..., Gateway]) -> None:
    gateway = start()
    for _ in range(5):
        hi: Any = [{"role": "user", "content": "hi"}]
        list(gateway.openai().chat.completions.create(model=BASE, messages=hi, max_tokens=4, stream=True))
    tokens = f'graft_tokens_total{{model="{BASE}",type="completion"}}'
    eventually(lambda: gateway.metric(tokens) == 20, 5)
    assert gateway.metric('graft_client_disconnects_total{phase="mid_answer"}') == 0


def test_one_who_leaves_during_a_load_does_not_take_it_from_the_others(home: Home, start: Callable[..., Gateway]) -> None:
    model = home.publish("bot")
    gateway = start("--load-ms", "1000")
    first = send(gateway, model="bot")
    eventually(lambda: gateway.metric('graft_inflight{model="bot"}') == 1)
    second = send(gateway, model="bot")
    eventually(lambda: gateway.metric('graft_inflight{model="bot"}') == 2)
    first.close()
    assert second.recv(65536).startswith(b"HTTP/1.1 200")
    assert gateway.stub()["reads"] == {model.engine_name: 1}
    assert gateway.stub()["asked"] == 1
