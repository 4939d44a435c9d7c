"""A chat's or a plain completion's answer: the engine's own bytes, under the caller's name for the model.

Knows no HTTP route; the way of the question is `answering.py`'s.
"""

from __future__ import annotations

from contextlib import aclosing

import aiohttp
import msgspec
from litestar.types import Send

from adapters.errors import GraftError
from gateway.api.errors import describe
from gateway.serving import silence
from gateway.serving.answering import Answering, Asked, Serving
from gateway.serving.compose import Ask, Route, read
from gateway.serving.relay import Renaming, events, whole


class Answer(Answering):
    def __init__(self, serving: Serving, route: Route, body: bytes) -> None:
        super().__init__(serving, body)
        self.route = self.asked_at = route

    def read(self) -> Ask:
        return read(self.body, self.route)

    async def relay(self, asked: Asked, upstream: aiohttp.ClientResponse, send: Send) -> None:
        renaming = Renaming(asked.ask, asked.model)
        if asked.ask.stream and upstream.status == 200:
            await self._stream(asked, upstream, renaming, send)
        else:
            await self.send_whole(send, asked, await whole(upstream, renaming, self.tally))

    async def stay_silent(self, asked: Asked, send: Send) -> None:
        if not asked.ask.stream:
            await self.send_whole(send, asked, silence.whole(asked.ask))
            return
        await self.start_stream(send, asked)
        self.tally.complete = True
        await send({"type": "http.response.body", "body": silence.stream(asked.ask), "more_body": False})

    async def _stream(self, asked: Asked, upstream: aiohttp.ClientResponse, renaming: Renaming, send: Send) -> None:
        coming = events(
            upstream, renaming, self.tally, wants_usage=asked.ask.wants_usage, idle_timeout_s=self.serving.idle_timeout_s
        )
        async with aclosing(coming):
            try:
                async for event in coming:
                    if not self.started:  # not before the first event: until then a failure can still be a status
                        await self.start_stream(send, asked)
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            except GraftError as error:
                self.telemetry.broken.labels(asked.model.name).inc()
                if not self.started:
                    raise
                # no [DONE] after it: OpenAI's clients raise, and nobody takes half an answer for a whole one
                event = b"data: " + msgspec.json.encode(describe(error).body) + b"\n\n"
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
