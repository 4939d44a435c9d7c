"""The answer to a request to `/v1/responses`. The engine is asked a chat, always as a stream; its chunks are told anew.

Nothing is sent before the engine's first word, so that until then a failure is a status and a lost engine is replaced.
Knows no HTTP route; the way of the question is `answering.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace

import aiohttp
import msgspec
from litestar.types import Receive, Scope, Send

from adapters.errors import GraftError, InvalidInput
from gateway.serving import silence
from gateway.serving.answering import Answering, Asked, Serving
from gateway.serving.compose import CHAT, Ask, is_shaped, read
from gateway.serving.relay import Renaming, Tally, events, whole
from gateway.serving.telling import REFUSAL, TEXT, Telling
from gateway.wire.chunks import Chunk, Usage
from gateway.wire.response_input import as_chat
from gateway.wire.responses import read_request

THEIRS = {"messages": "input", "max_completion_tokens": "max_output_tokens", "response_format": "text.format"}
"""What fields of the chat are called in the request that it was made from."""

_DATA, _DONE = b"data: ", b"data: [DONE]"


class Respond(Answering):
    route, asked_at = CHAT, "/v1/responses"

    def __init__(self, serving: Serving, body: bytes) -> None:
        super().__init__(serving, body)
        self._request = read_request(body)

    @property
    def _is_stream(self) -> bool:
        return bool(self._request.request.stream)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except InvalidInput as error:
            error.param = THEIRS.get(error.param or "", error.param)
            raise

    def read(self) -> Ask:
        return replace(read(as_chat(self._request)), wish=self._request.wish)

    async def relay(self, asked: Asked, upstream: aiohttp.ClientResponse, send: Send) -> None:
        renaming, tally, telling = Renaming(asked.ask, asked.model), Tally(), self._telling(asked)
        if upstream.status != 200:
            await whole(upstream, renaming, tally)  # raises what it means
        coming = events(upstream, renaming, tally, wants_usage=True, idle_timeout_s=self.serving.idle_timeout_s)
        usage: Usage | None = None
        held = b"".join(telling.begin())
        async with aclosing(coming):
            try:
                async for read_now in coming:
                    for chunk in _chunks(read_now):
                        usage = chunk.usage or usage
                        held += b"".join(telling.told(chunk))
                    if self._is_stream:
                        await self._send(asked, held, send)
                        held = b""
            except GraftError as error:
                self.telemetry.broken.labels(asked.model.name).inc()
                if not self.started:
                    raise
                await send({"type": "http.response.body", "body": telling.failed(error), "more_body": False})
                return
        self.tally.usage = usage
        await self._end(asked, telling, telling.end(usage), send)

    async def stay_silent(self, asked: Asked, send: Send) -> None:
        telling = self._telling(asked)
        told = b"".join((*telling.begin(), *telling.refused(silence.SENTENCE, part=REFUSAL if is_shaped(asked.ask) else TEXT)))
        if self._is_stream:
            await self._send(asked, told, send)
        await self._end(asked, telling, telling.end(Usage()), send)

    def _telling(self, asked: Asked) -> Telling:
        gathered, model, defaults = asked.gathered, asked.ask.model, asked.model.sampling.wire()
        if gathered is None:
            return Telling(self._request, model, "", None, defaults)
        return Telling(self._request, model, gathered.question, gathered.passages, defaults | gathered.defaults)

    async def _send(self, asked: Asked, told: bytes, send: Send) -> None:
        if not self.started:
            await self.start_stream(send, asked)
        if told:
            await send({"type": "http.response.body", "body": told, "more_body": True})

    async def _end(self, asked: Asked, telling: Telling, last: Iterator[bytes], send: Send) -> None:
        told = b"".join(last)
        if not self._is_stream:
            await self.send_whole(send, asked, msgspec.json.encode(telling.response))
            return
        self.tally.complete = True  # before the caller has it: they may hang up at once
        await send({"type": "http.response.body", "body": told, "more_body": False})


def _chunks(read: bytes) -> Iterator[Chunk]:
    for line in read.split(b"\n"):
        if line.startswith(_DATA) and line != _DONE:
            yield msgspec.json.decode(line.removeprefix(_DATA), type=Chunk)
