"""Asks a served base to read facts out of a conversation, under a JSON schema that the engine's decoding cannot leave.

The question goes the way of every plain completion: compose, lease, open, relay. Without an engine that answers there is no
reading, and the advisor goes on with what was plainly said. Knows no wording.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from adapters.adapted_model import AdaptedModel
from adapters.errors import GraftError
from advisor.conversation import extraction
from advisor.conversation.claims import Claim, Turn
from advisor.conversation.extraction import Opening
from gateway.engines.pool import Pool
from gateway.serving.compose import Route, compose, read
from gateway.serving.relay import Renaming, Tally, whole
from gateway.wire.openai import Usage

TIME_LIMIT_S = 30.0
"""A small base on a CPU takes some seconds; whoever waits longer is better served by what was plainly said."""
ROUTE: Route = "/v1/completions"

log = logging.getLogger(__name__)


class _Text(msgspec.Struct):
    text: str = ""


class _Completion(msgspec.Struct):
    choices: list[_Text] = []


@dataclass(frozen=True, slots=True)
class Reading:
    claims: tuple[Claim, ...] = ()
    usage: Usage = field(default_factory=Usage)
    """As the engine counted; zeros where none was asked."""


class Reader:
    def __init__(self, pool: Pool, bases: Sequence[AdaptedModel], *, window: int) -> None:
        """`window`: tokens of a prompt and its answer together."""
        self._pool, self._bases, self._window = pool, bases, window

    async def read(self, turns: Sequence[Turn], said: Sequence[Claim]) -> Reading:
        """What the first base that has a ready engine reads where `said` left something open."""
        asked = await asyncio.to_thread(extraction.openings, turns, said)
        base = self._ready_base()
        if not asked or base is None:
            return Reading()
        tally = Tally()
        try:
            async with asyncio.timeout(TIME_LIMIT_S):
                reply = await self._ask(base, asked, tally)
        except (GraftError, TimeoutError) as error:
            log.warning("%s did not read for the advisor: %s", base.name, error or f"no answer in {TIME_LIMIT_S:g} s")
            return Reading()
        claims = await asyncio.to_thread(extraction.claimed, reply, turns, said, base.name)
        return Reading(tuple(claims), tally.usage or Usage())

    def _ready_base(self) -> AdaptedModel | None:
        states = self._pool.engine_state()
        ready = (base for base in self._bases if any(one["state"] == "ready" for one in states.get(base.name, ())))
        return next(ready, None)

    async def _ask(self, base: AdaptedModel, asked: Sequence[Opening], tally: Tally) -> str:
        fields: dict[str, Any] = {
            "model": base.name, "prompt": extraction.prompt(asked), "temperature": 0,
            "max_tokens": min(extraction.TOKENS_A_FIELD * len(asked), self._window // 4),
            "structured_outputs": {"json": extraction.schema(asked)},
        }  # fmt: skip
        ask = read(msgspec.json.encode(fields), ROUTE)
        body = compose(ask, base, ROUTE)
        async with self._pool.lease(base) as replica, replica.open(ROUTE, body) as upstream:
            answer = await whole(upstream, Renaming(ask, base), tally)
        choices = msgspec.json.decode(answer, type=_Completion).choices
        return choices[0].text if choices else ""
