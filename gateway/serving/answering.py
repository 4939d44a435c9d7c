"""The way of a question: resolve → gather → compose → lease → open → relay. An ASGI application, so that it ends as one piece.

If the engine goes away before the first byte, the question is asked once more, of the same version: elsewhere, or of the
same engine when it is back. Whatever happens, the engine's work and the lease end with the answer. Knows no HTTP route,
and not in which form an answer is told: those are its two kinds, `answer.py` and `responding.py`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import aiohttp
from litestar.types import Receive, Scope, Send

from adapters.adapted_model import AdaptedModel
from adapters.errors import EngineLost, NotFound
from gateway.engines.pool import Pool
from gateway.engines.replica import Replica
from gateway.serving.compose import Ask, Route, compose
from gateway.serving.disconnect import while_connected
from gateway.serving.gather import Gatherer, needs_gathering
from gateway.serving.gathered import Gathered
from gateway.serving.relay import Tally
from gateway.serving.resolve import Resolver
from gateway.telemetry import Telemetry

MODEL_IN_SCOPE = "graft.model"
"""Where in the scope's state the name for the metrics stands, once it is known to be a real one."""

SESSION = b"x-graft-session"
"""Requests with the same value of this header are answered by the same version of a name, canaries or not."""

STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no"}


@dataclass(frozen=True, slots=True)
class Serving:
    """What every answer needs."""

    resolver: Resolver
    gatherer: Gatherer
    pool: Pool
    telemetry: Telemetry
    idle_timeout_s: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that is ready to be told to an engine."""

    ask: Ask
    model: AdaptedModel
    gathered: Gathered | None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the answer, in whatever form it is told."""


class Answering(ABC):
    """The answer to one body."""

    route: Route
    """Of the engine."""
    asked_at: str
    """Of the gateway, for the metrics."""

    def __init__(self, serving: Serving, body: bytes) -> None:
        self.serving, self.body, self.telemetry = serving, body, serving.telemetry
        self.began = time.monotonic()
        self.started = False
        """The caller has been sent something."""
        self.tally = Tally()

    @abstractmethod
    def read(self) -> Ask:
        """The body. Raises InvalidInput that names the field."""

    @abstractmethod
    async def relay(self, asked: Asked, upstream: aiohttp.ClientResponse, send: Send) -> None:
        """Tells the caller what the engine says. Raises EngineLost, and may then be called again if nothing was sent."""

    @abstractmethod
    async def stay_silent(self, asked: Asked, send: Send) -> None:
        """Tells the caller that nothing was found to answer from."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stayed = await while_connected(self._answer(scope, send), receive)
        if not stayed and not self.tally.complete:  # OpenAI's clients hang up as soon as they have read [DONE]
            self.telemetry.disconnects.labels("mid_answer" if self.started else "before_first_byte").inc()

    async def _answer(self, scope: Scope, send: Send) -> None:
        ask, model = await self._resolved(self.read(), _sticky(scope))
        scope["state"][MODEL_IN_SCOPE] = model.name
        slot = await self.serving.pool.slot(model)
        with self.telemetry.inflight.labels(model.name).track_inprogress():
            try:
                gathered = await self.serving.gatherer.gather(ask, model) if needs_gathering(ask, model) else None
                headers = {"x-graft-model": model.pinned} | (gathered.header if gathered is not None else {})
                asked = Asked(ask, model, gathered, headers)
                body = compose(ask, model, self.route, slot, gathered)
                if gathered is not None and gathered.is_silent:
                    await self.stay_silent(asked, send)
                else:
                    await self._ask_twice(asked, body, send)
            finally:
                self._count(model)

    async def _resolved(self, ask: Ask, sticky: str | None) -> tuple[Ask, AdaptedModel]:
        """The question with its model, which a stored prompt may say, and who that is."""
        who, prompt = self.serving.resolver, ask.prompt
        if ask.model or prompt is None:
            return ask, await who.resolve(ask.model, sticky or ask.user)
        ask = replace(ask, model=await self.serving.gatherer.model_for(prompt))
        try:
            return ask, await who.resolve(ask.model, sticky or ask.user)
        except NotFound as error:
            reason = f"the body has no 'model', and prompt '{prompt.id}' names one that is not here: {error.message}"
            raise NotFound(reason, param="model", code=error.code) from error

    async def _ask_twice(self, asked: Asked, body: bytes, send: Send) -> None:
        lost: Replica | None = None
        for is_last in (False, True):
            replica: Replica | None = None
            try:
                leased = self.serving.pool.lease(asked.model, avoid=lost)
                async with leased as replica, replica.open(self.route, body) as upstream:
                    await self.relay(asked, upstream, send)
                    return
            except EngineLost:
                if self.started or is_last:
                    raise
            self.telemetry.retries.labels(asked.model.name).inc()
            lost = replica
            if replica is not None:  # else it was lost while the adapter was brought, and has been looked at
                await replica.lost()

    def _count(self, model: AdaptedModel) -> None:
        """What was used, also when the caller left in the middle; how long it took, only when they had it whole."""
        if self.tally.usage is not None:
            self.telemetry.tokens.labels(model.name, "prompt").inc(self.tally.usage.prompt_tokens)
            self.telemetry.tokens.labels(model.name, "completion").inc(self.tally.usage.completion_tokens or 0)
        if self.tally.complete:
            self.telemetry.duration.labels(self.asked_at, model.name).observe(time.monotonic() - self.began)

    async def start(self, send: Send, asked: Asked, headers: dict[str, str]) -> None:
        """The status line; from here on a failure can no longer be one."""
        raw = [(name.encode(), value.encode()) for name, value in (headers | dict(asked.headers)).items()]
        self.started = True
        await send({"type": "http.response.start", "status": 200, "headers": raw})

    async def start_stream(self, send: Send, asked: Asked) -> None:
        await self.start(send, asked, STREAM)
        self.telemetry.first_token.labels(asked.model.name).observe(time.monotonic() - self.began)

    async def send_whole(self, send: Send, asked: Asked, body: bytes) -> None:
        """An answer that is no stream."""
        await self.start(send, asked, {"content-type": "application/json", "content-length": str(len(body))})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        self.tally.complete = True


def _sticky(scope: Scope) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == SESSION), None)
