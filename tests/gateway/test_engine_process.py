"""Engines die, hang and are left behind; callers are told the truth, and nothing stays running."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import openai
import pytest

from adapters.errors import Unavailable
from gateway.engines import process as process_module
from gateway.engines.client import EngineClient
from gateway.engines.contract import EngineCommand
from gateway.engines.process import LONGEST_PAUSE_S, EngineProcess, pause
from gateway.engines.vitals import Vitals
from tests.gateway.conftest import BASE, Gateway, Home, eventually

HI = [{"role": "user", "content": "hi"}]


def is_gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def test_an_engine_killed_mid_stream_ends_it_with_an_error_and_the_next_request_is_answered(
    home: Home, start: Callable[..., Gateway]
) -> None:
    model = home.publish("bot")
    gateway = start("--token-ms", "20")
    body = {"model": "bot", "messages": HI, "stream": True, "max_tokens": 1000, "ignore_eos": True}
    with gateway.http() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        seen = []
        for line in answer.iter_lines():
            seen.append(line)
            if len(seen) == 20:
                os.kill(gateway.engine_pid, signal.SIGKILL)
    events = [line for line in seen if line]
    assert "data: [DONE]" not in events
    assert all(json.loads(event.removeprefix("data: ")) for event in events)
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "engine_unavailable"

    after = gateway.openai().chat.completions.create(model="bot", messages=HI)
    assert after.model == "bot"
    assert gateway.stub()["reads"] == {model.engine_name: 1}
    assert gateway.metric(f'graft_engine_restarts_total{{base="{BASE}"}}') == 1
    assert gateway.metric('graft_broken_answers_total{model="bot"}') == 1


def test_openais_client_raises_when_the_engine_dies_mid_stream(start: Callable[..., Gateway]) -> None:
    gateway = start("--token-ms", "20")
    stream = gateway.openai().chat.completions.create(
        model=BASE, messages=HI, stream=True, max_tokens=1000, extra_body={"ignore_eos": True}
    )
    next(stream)
    os.kill(gateway.engine_pid, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="not complete"):
        list(stream)


def test_a_question_whose_engine_dies_while_its_adapter_is_loaded_is_asked_once_more(
    home: Home, start: Callable[..., Gateway]
) -> None:
    home.publish("bot")
    gateway = start("--load-ms", "1500")

    async def ask() -> str:
        async with gateway.async_openai() as client:
            asking = asyncio.create_task(client.chat.completions.with_raw_response.create(model="bot", messages=HI))
            await asyncio.to_thread(eventually, lambda: gateway.metric('graft_inflight{model="bot"}') == 1)
            await asyncio.sleep(0.3)  # within the load, which nothing outside can see
            os.kill(gateway.engine_pid, signal.SIGKILL)
            return str((await asking).headers["x-graft-model"])

    assert asyncio.run(ask()) == "bot@1"
    assert gateway.metric('graft_retries_total{model="bot"}') == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_question_whose_engine_dies_before_the_first_byte_is_asked_once_more(
    home: Home, start: Callable[..., Gateway], stream: bool
) -> None:
    home.publish("bot")
    gateway = start("--first-token-ms", "1500")

    async def ask() -> str:
        async with gateway.async_openai() as client:
            asking = asyncio.create_task(
                client.chat.completions.with_raw_response.create(model="bot", messages=HI, stream=stream)
            )
            await asyncio.to_thread(eventually, lambda: gateway.stub()["running"] == 1)
            os.kill(gateway.engine_pid, signal.SIGKILL)
            return str((await asking).headers["x-graft-model"])

    assert asyncio.run(ask()) == "bot@1"
    assert gateway.metric('graft_retries_total{model="bot"}') == 1
    assert gateway.metric('graft_requests_total{model="bot",route="/v1/chat/completions",status="503"}') == 0


def test_an_engine_that_dies_of_the_question_twice_is_a_503_that_says_when_to_come_back(start: Callable[..., Gateway]) -> None:
    gateway = start("--first-token-ms", "60000")

    async def ask() -> openai.InternalServerError:
        async with gateway.async_openai() as client:
            asking = asyncio.create_task(client.chat.completions.create(model=BASE, messages=HI))
            for _ in range(2):
                await asyncio.to_thread(eventually, lambda: runs_one(gateway))
                os.kill(gateway.engine_pid, signal.SIGKILL)
                await asyncio.to_thread(eventually, lambda: not runs_one(gateway))
            with pytest.raises(openai.InternalServerError) as caught:
                await asking
            return caught.value

    error = asyncio.run(ask())
    assert error.status_code == 503
    assert error.code == "engine_unavailable"
    assert int(error.response.headers["retry-after"]) > 0


def runs_one(gateway: Gateway) -> bool:
    try:
        return bool(gateway.stub()["running"] == 1)
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("stopped", ["its HTTP process", "what computes"])
def test_an_engine_that_stands_still_is_noticed_and_started_anew(start: Callable[..., Gateway], stopped: str) -> None:
    flags = () if stopped == "its HTTP process" else ("--first-token-ms", "600000")  # answers /health, makes no token
    gateway = start(*flags, GRAFT_ENGINE_HANG_TIMEOUT_S="1.5")
    first = gateway.engine_pid
    if not flags:
        os.kill(first, signal.SIGSTOP)

    async def ask() -> None:
        async with gateway.async_openai() as client:
            asking = asyncio.create_task(client.chat.completions.create(model=BASE, messages=HI))
            await asyncio.to_thread(eventually, lambda: is_gone(first), 30.0)
            if flags:
                asking.cancel()
            else:  # the question was lost before its first byte, so the new engine answers it
                assert (await asking).model == BASE

    asyncio.run(ask())
    gateway.wait_ready()
    assert gateway.metric(f'graft_engine_restarts_total{{base="{BASE}"}}') == 1


def test_readiness_follows_the_engine(start: Callable[..., Gateway]) -> None:
    gateway = start("--start-ms", "300")
    os.kill(gateway.engine_pid, signal.SIGKILL)

    def status() -> int:
        with gateway.http() as client:
            return client.get("/health/ready").status_code

    eventually(lambda: status() == 503)
    eventually(lambda: status() == 200)


def test_an_engine_silent_in_the_middle_of_a_stream_is_given_up(start: Callable[..., Gateway]) -> None:
    gateway = start("--token-ms", "60000", GRAFT_SERVER_IDLE_TIMEOUT_S="0.5")
    stream = gateway.openai().chat.completions.create(model=BASE, messages=HI, stream=True)
    with pytest.raises(openai.APIError, match="said nothing"):
        list(stream)
    eventually(lambda: gateway.stub()["aborted"] == 1)


def test_a_clean_stop_leaves_no_process_and_no_socket(start: Callable[..., Gateway]) -> None:
    gateway = start()
    engine = gateway.engine_pid
    assert gateway.stop() == 0
    assert is_gone(engine)
    assert not gateway.engine_socket.exists()
    assert not gateway.engine_socket.with_suffix(".pid").exists()


def test_a_killed_gateway_takes_its_engine_along_and_the_next_one_starts(home: Home, start: Callable[..., Gateway]) -> None:
    home.publish("bot")
    first = start()
    engine = first.engine_pid
    os.killpg(first.process.pid, signal.SIGKILL)
    first.process.wait()
    eventually(lambda: is_gone(engine))
    first.socket.unlink()
    second = start()
    assert second.openai().chat.completions.create(model="bot", messages=HI).model == "bot"


def test_a_killed_gateway_leaves_no_grandchild_either(tmp_path: Path) -> None:
    program = r"""
import asyncio, os, sys
from gateway import children
from gateway.engines.leash import leashed
async def hold():
    family = "import os, signal; child = os.fork(); child and os.write(1, b'%d\\n' % child); signal.pause()"
    process = await children.start([sys.executable, "-c", family], stdout=sys.stdout)
    with leashed(process.pid):
        os.write(1, b"%d\n" % process.pid)
        await process.wait()
asyncio.run(hold())
"""
    gateway = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert gateway.stdout is not None
        family = [int(gateway.stdout.readline()) for _ in range(2)]
        assert not any(is_gone(pid) for pid in family)
    finally:
        os.killpg(gateway.pid, signal.SIGKILL)
        gateway.wait()  # not for its output to end: whoever was left behind holds that open
        if gateway.stdout is not None:
            gateway.stdout.close()
    eventually(lambda: all(is_gone(pid) for pid in family))


def test_pauses_grow_to_a_bound_and_differ() -> None:
    for failures in range(1, 200):
        longest = min(LONGEST_PAUSE_S, 0.5 * 2**failures)
        assert longest / 2 <= pause(failures) <= longest
    assert len({pause(3) for _ in range(10)}) > 1


def kept(tmp_path: Path, argv: list[str], *, start_timeout_s: float = 30.0) -> tuple[EngineProcess, EngineClient]:
    socket = tmp_path / "e.sock"
    client = EngineClient("tiny", socket)
    command = EngineCommand(tuple(argv), {})
    log_file = tmp_path / "logs" / "engine.log"
    vitals = Vitals(client, hang_timeout_s=60, is_busy=lambda: False)
    made = EngineProcess(
        "tiny", lambda: command, client, socket=socket, log_file=log_file, start_timeout_s=start_timeout_s, vitals=vitals
    )
    return made, client


def test_a_program_that_cannot_start_is_tried_again_and_says_why(tmp_path: Path) -> None:
    async def scene() -> None:
        engine, client = kept(tmp_path, [sys.executable, "-c", "print('no such model'); raise SystemExit(3)"])
        await engine.start()
        with pytest.raises(Unavailable, match="ended with status 3"):
            await engine.ready(1.5)
        assert engine.generation >= 2
        await engine.stop()
        await client.close()
        assert engine.state == "stopped"

    asyncio.run(scene())
    assert "no such model" in (tmp_path / "logs" / "engine.log").read_text()


def test_a_program_that_never_answers_is_ended_after_its_time(tmp_path: Path) -> None:
    async def scene() -> None:
        engine, client = kept(tmp_path, [sys.executable, "-c", "import signal; signal.pause()"], start_timeout_s=0.3)
        await engine.start()
        with pytest.raises(Unavailable, match="did not answer within"):
            await engine.ready(2.0)
        await engine.stop()
        await client.close()

    asyncio.run(scene())


def test_a_program_deaf_to_sigterm_is_killed_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "GRACE_S", 0.3)
    deaf = (
        "import os, signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); child = os.fork();"
        f"child and open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child}}'); signal.pause()"
    )

    async def scene() -> None:
        engine, client = kept(tmp_path, [sys.executable, "-c", deaf])
        await engine.start()
        await asyncio.to_thread(
            eventually, lambda: len((tmp_path / "pids").read_text().split()) == 2 if (tmp_path / "pids").exists() else False
        )
        await engine.stop()
        await client.close()

    began = time.monotonic()
    asyncio.run(scene())
    assert time.monotonic() - began < 10
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    eventually(lambda: all(is_gone(pid) for pid in pids))


def test_an_engine_that_says_it_is_ill_is_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "WATCH_S", 0.1)
    ill = tmp_path / "ill"
    program = f"""
import pathlib, sys
from aiohttp import web
async def health(request):
    return web.Response(status=503 if pathlib.Path({str(ill)!r}).exists() else 200)
app = web.Application()
app.add_routes([web.get("/health", health)])
web.run_app(app, path={str(tmp_path / "e.sock")!r}, print=None)
"""

    async def scene() -> None:
        engine, client = kept(tmp_path, [sys.executable, "-c", program])
        await engine.start()
        await engine.ready(20)
        assert engine.generation == 1
        ill.touch()
        await asyncio.to_thread(eventually, lambda: engine.state == "restarting")
        assert "ill" in str(engine.last_failure)
        ill.unlink()
        await engine.ready(20)
        assert engine.generation == 2
        await engine.stop()
        await client.close()
        assert not (tmp_path / "e.sock").exists()

    asyncio.run(scene())


def test_no_engine_no_answer(tmp_path: Path) -> None:
    async def scene() -> None:
        client = EngineClient("tiny", tmp_path / "nobody.sock")
        assert await client.health() is None
        with pytest.raises(Unavailable):
            await client.listed()
        with pytest.raises(Unavailable):
            async with client.open("/v1/chat/completions", b"{}"):
                pass
        await client.close()

    asyncio.run(scene())
