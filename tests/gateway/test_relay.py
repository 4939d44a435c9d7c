"""However the engine's bytes are cut on their way, callers get whole events, their own name, and an honest end."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.adapted_model import AdaptedModel, AdapterRef
from adapters.errors import EngineLost, GraftError, InvalidInput, Unavailable
from gateway.serving.compose import read
from gateway.serving.relay import Renaming, Tally, events, refusal, whole

MODEL = AdaptedModel("bot", 3, "tiny", AdapterRef("lora", "0123456789abcdef" * 4, 8))
ENGINE = MODEL.engine_name
ASK = read(b'{"model": "bot@3", "stream": true}')


def chunk(**more: Any) -> bytes:
    content = {"id": "c1", "model": ENGINE, "choices": [{"index": 0, "delta": {"content": "x"}}]} | more
    return b"data: " + json.dumps(content, separators=(",", ":")).encode() + b"\n\n"


# what the model says may look like anything the relay looks for; inside JSON its quotes are escaped
TRICKY = chunk(choices=[{"delta": {"content": f'data: [DONE] "model":"{ENGINE}" "choices":[] data: {{"error"'}}])
USAGE = chunk(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 2})
COMMENT = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
STREAM = b"".join([COMMENT, chunk(), COMMENT, TRICKY, chunk(), USAGE, DONE])


@dataclass
class Upstream:
    """An engine's response whose reads are given; an exception among them is raised."""

    reads: list[bytes | Exception]
    status: int = 200
    content: Upstream = field(init=False)

    def __post_init__(self) -> None:
        self.content = self

    async def readany(self) -> bytes:
        if not self.reads:
            return b""
        if isinstance(now := self.reads.pop(0), Exception):
            raise now
        return now

    async def read(self) -> bytes:
        said = b""
        while more := await self.readany():
            said += more
        return said


def relayed(reads: list[bytes | Exception], *, wants_usage: bool = False) -> tuple[list[bytes], Tally, GraftError | None]:
    tally, seen = Tally(), []

    async def run() -> GraftError | None:
        coming = events(Upstream(reads), Renaming(ASK, MODEL), tally, wants_usage=wants_usage, idle_timeout_s=5)
        try:
            async for event in coming:
                seen.append(event)
        except GraftError as error:
            return error
        return None

    return seen, tally, asyncio.run(run())


def cut(stream: bytes, places: list[int]) -> list[bytes | Exception]:
    edges = [0, *sorted(place % len(stream) for place in places), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges) if a < b]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12), st.booleans())
def test_the_cuts_make_no_difference(places: list[int], wants_usage: bool) -> None:
    seen, tally, error = relayed(cut(STREAM, places), wants_usage=wants_usage)
    expected = STREAM.replace(f'"model":"{ENGINE}"'.encode(), b'"model":"bot@3"')
    if not wants_usage:
        expected = expected.replace(USAGE.replace(ENGINE.encode(), b"bot@3"), b"")
    assert b"".join(seen) == expected
    assert all(event.endswith(b"\n\n") for event in seen)
    assert error is None
    assert tally.usage is not None
    assert (tally.usage.prompt_tokens, tally.usage.completion_tokens) == (5, 2)


@given(st.integers(1, len(STREAM) - 1))
def test_a_stream_that_breaks_anywhere_is_an_error_after_whole_events(place: int) -> None:
    for end in ([], [aiohttp.ClientPayloadError("cut")], [ConnectionResetError()]):
        seen, _, error = relayed([STREAM[:place], *end])
        assert all(event.endswith(b"\n\n") for event in seen)
        assert isinstance(error, Unavailable)
        assert DONE not in b"".join(seen)


def test_an_engine_that_reports_its_own_failure_is_not_taken_for_complete() -> None:
    failed = b'data: {"error": {"message": "EngineCore died, see /var/log/engine/x.log", "type": "E", "code": 500}}\n\n'
    seen, _, error = relayed([chunk(), failed + DONE])
    assert len(seen) == 1
    assert isinstance(error, Unavailable)
    assert "EngineCore died" in error.message
    assert "/var/log" not in error.message


def test_a_comment_is_no_sign_of_progress() -> None:
    class Commenting(Upstream):
        async def readany(self) -> bytes:
            if self.reads:
                return await super().readany()
            await asyncio.sleep(0.02)
            return COMMENT

    async def drain() -> None:
        upstream = Commenting([COMMENT, chunk()])
        async for _ in events(upstream, Renaming(ASK, MODEL), Tally(), wants_usage=False, idle_timeout_s=0.1):
            pass

    with pytest.raises(Unavailable, match="said nothing"):
        asyncio.run(asyncio.wait_for(drain(), 5))


def test_a_whole_body_is_renamed_and_counted() -> None:
    body = json.dumps({"model": ENGINE, "usage": {"prompt_tokens": 1, "completion_tokens": 2}}, separators=(",", ":"))
    tally = Tally()
    said = asyncio.run(whole(Upstream([body.encode()]), Renaming(ASK, MODEL), tally))
    assert json.loads(said)["model"] == "bot@3"
    assert tally.usage is not None
    assert tally.usage.completion_tokens == 2


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "says", "param"),
    [
        (
            400,
            {"message": "This model's maximum context length is 9 tokens.", "type": "BadRequestError", "param": "input_tokens"},
            InvalidInput, "context_length_exceeded", "9 tokens", "messages",
        ),
        (
            400,
            {"message": "1 validation error:\n  {'type': 'f', 'loc': 'body.top_p', 'msg': 'Input should be a number'}"},
            InvalidInput, "invalid_value", "top_p: Input should be a number", "top_p",
        ),
        (400, {"message": f"{ENGINE} cannot"}, InvalidInput, "invalid_value", "bot@3 cannot", None),
        (404, {"message": "The model does not exist"}, EngineLost, "engine_unavailable", "restarting", None),
        (500, {"message": "failed in /opt/x/y.py line 3"}, GraftError, "engine_error", "failed in <path> line 3", None),
        (500, {"message": "use `/v1/chat/completions`"}, GraftError, "engine_error", "use `/v1/chat/completions`", None),
    ],
)  # fmt: skip
def test_an_engines_refusal_keeps_its_words_and_loses_its_insides(
    status: int, body: dict[str, Any], kind: type[GraftError], code: str, says: str, param: str | None
) -> None:
    error = refusal(status, json.dumps({"error": body}).encode(), Renaming(ASK, MODEL))
    assert type(error) is kind
    assert error.code == code
    assert says in error.message
    assert error.param == param
    assert ENGINE not in error.message


@pytest.mark.parametrize(
    "body", [b"", b"Internal Server Error", b"{}", b'{"error": null}', b'{"error": {"message": 3}}', b"\xff"]
)
def test_an_engines_nonsense_is_still_an_error(body: bytes) -> None:
    assert "status 500" in refusal(500, body, Renaming(ASK, MODEL)).message
