"""The way of a question: resolve → compose → lease → open → relay. An ASGI application, so that it ends as one piece.

If the engine goes away before the first byte, the question is asked once more, of the same version: elsewhere, or of the
same engine when it is back. Whatever happens, the engine's work and the lease end with the answer. Knows no HTTP route.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass

import aiohttp
import msgspec
from litestar.types import Receive, Scope, Send

from adapters.adapted_model import AdaptedModel
from adapters.errors import EngineLost, GraftError
from gateway.api.errors import describe
from gateway.engines.pool import Pool
from gateway.engines.replica import Replica
from gateway.serving.compose import Ask, Route, compose, read
from gateway.serving.disconnect import while_connected
from gateway.serving.relay import Renaming, Tally, events, whole
from gateway.serving.resolve import Resolver
from gateway.telemetry import Telemetry

MODEL_IN_SCOPE = "graft.model"
"""Where in the scope's state the name for the metrics stands, once it is known to be a real one."""

SESSION = b"x-graft-session"
"""Requests with the same value of this header are answered by the same version of a name, canaries or not."""

_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no"}


@dataclass(frozen=True, slots=True)
class Serving:
    """What every answer needs."""

    resolver: Resolver
    pool: Pool
    telemetry: Telemetry
    idle_timeout_s: float


class Answer:
    """The answer to one body."""

    def __init__(self, serving: Serving, route: Route, body: bytes) -> None:
        self._serving, self._route, self._body = serving, route, body
        self._telemetry = serving.telemetry
        self._began = time.monotonic()
        self._started = False
        self._tally = Tally()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stayed = await while_connected(self._answer(scope, send), receive)
        if not stayed and not self._tally.complete:  # OpenAI's clients hang up as soon as they have read [DONE]
            self._telemetry.disconnects.labels("mid_answer" if self._started else "before_first_byte").inc()

    async def _answer(self, scope: Scope, send: Send) -> None:
        ask = read(self._body)
        model = await self._serving.resolver.resolve(ask.model, _sticky(scope) or ask.user)
        scope["state"][MODEL_IN_SCOPE] = model.name
        body = compose(ask, model, self._route, await self._serving.pool.slot(model))
        with self._telemetry.inflight.labels(model.name).track_inprogress():
            try:
                await self._ask_twice(ask, model, body, send)
            finally:
                self._count(model)

    async def _ask_twice(self, ask: Ask, model: AdaptedModel, body: bytes, send: Send) -> None:
        lost: Replica | None = None
        for is_last in (False, True):
            replica: Replica | None = None
            try:
                async with self._serving.pool.lease(model, avoid=lost) as replica, replica.open(self._route, body) as upstream:
                    await self._relay(ask, model, upstream, send)
                    return
            except EngineLost:
                if self._started or is_last:
                    raise
            self._telemetry.retries.labels(model.name).inc()
            lost = replica
            if replica is not None:  # else it was lost while the adapter was brought, and has been looked at
                await replica.lost()

    async def _relay(self, ask: Ask, model: AdaptedModel, upstream: aiohttp.ClientResponse, send: Send) -> None:
        renaming, tally = Renaming(ask, model), self._tally
        if ask.stream and upstream.status == 200:
            await self._stream(ask, model, upstream, renaming, tally, send)
        else:
            body = await whole(upstream, renaming, tally)
            await self._start(send, model, {"content-type": "application/json", "content-length": str(len(body))})
            await send({"type": "http.response.body", "body": body, "more_body": False})
            tally.complete = True

    def _count(self, model: AdaptedModel) -> None:
        """What was used, also when the caller left in the middle; how long it took, only when they had it whole."""
        if self._tally.usage is not None:
            self._telemetry.tokens.labels(model.name, "prompt").inc(self._tally.usage.prompt_tokens)
            self._telemetry.tokens.labels(model.name, "completion").inc(self._tally.usage.completion_tokens or 0)
        if self._tally.complete:
            self._telemetry.duration.labels(self._route, model.name).observe(time.monotonic() - self._began)

    async def _stream(
        self, ask: Ask, model: AdaptedModel, upstream: aiohttp.ClientResponse, renaming: Renaming, tally: Tally, send: Send
    ) -> None:
        coming = events(upstream, renaming, tally, wants_usage=ask.wants_usage, idle_timeout_s=self._serving.idle_timeout_s)
        async with aclosing(coming):
            try:
                async for event in coming:
                    if not self._started:  # not before the first event: until then a failure can still be a status
                        await self._start(send, model, _STREAM)
                        self._telemetry.first_token.labels(model.name).observe(time.monotonic() - self._began)
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            except GraftError as error:
                self._telemetry.broken.labels(model.name).inc()
                if not self._started:
                    raise
                # no [DONE] after it: OpenAI's clients raise, and nobody takes half an answer for a whole one
                event = b"data: " + msgspec.json.encode(describe(error).body) + b"\n\n"
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start(self, send: Send, model: AdaptedModel, headers: dict[str, str]) -> None:
        said = headers | {"x-graft-model": model.pinned}
        raw = [(name.encode(), value.encode()) for name, value in said.items()]
        self._started = True
        await send({"type": "http.response.start", "status": 200, "headers": raw})


def _sticky(scope: Scope) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == SESSION), None)
