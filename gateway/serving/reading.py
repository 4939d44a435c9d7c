"""Asks a served base to read facts out of a conversation, under a JSON schema that the engine's decoding cannot leave.

The question goes the way of every plain completion: compose, lease, open, relay. Without an engine that answers there is no
reading, and the advisor goes on with what was plainly said. Knows no wording.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
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
    def __init__(self, pool: Pool, bases: Sequence[AdaptedModel]) -> None:
        self._pool, self._bases = pool, bases

    async def read(self, turns: Sequence[Turn], said: Sequence[Claim]) -> Reading:
        """What the first base that has a ready engine reads where `said` left something open, within `TIME_LIMIT_S`."""
        asked = await asyncio.to_thread(extraction.openings, turns, said)
        base = self._ready_base()
        if not asked or base is None:
            return Reading()
        replies: dict[str, str] = {}
        tallies = [Tally() for _ in asked]
        try:
            # side by side: a batch of four takes an engine little longer than one
            async with asyncio.timeout(TIME_LIMIT_S), asyncio.TaskGroup() as group:
                for opening, tally in zip(asked, tallies, strict=True):
                    group.create_task(self._fill(replies, base, opening, tally))
        except TimeoutError:
            log.warning("%s read %d of %d fields in %g s for the advisor", base.name, len(replies), len(asked), TIME_LIMIT_S)
        claims = await asyncio.to_thread(extraction.claimed, replies, turns, said, base.name)
        return Reading(tuple(claims), _sum(tally.usage for tally in tallies))

    async def _fill(self, replies: dict[str, str], base: AdaptedModel, opening: Opening, tally: Tally) -> None:
        try:
            replies[opening.name] = await self._ask(base, opening, tally)
        except GraftError as error:
            log.warning("%s did not read %s for the advisor: %s", base.name, opening.name, error)

    def _ready_base(self) -> AdaptedModel | None:
        states = self._pool.engine_state()
        ready = (base for base in self._bases if any(one["state"] == "ready" for one in states.get(base.name, ())))
        return next(ready, None)

    async def _ask(self, base: AdaptedModel, opening: Opening, tally: Tally) -> str:
        fields: dict[str, Any] = {
            "model": base.name, "prompt": extraction.prompt(opening), "temperature": 0, "max_tokens": extraction.TOKENS,
            "structured_outputs": {"json": extraction.schema(opening)},
        }  # fmt: skip
        ask = read(msgspec.json.encode(fields), ROUTE)
        body = compose(ask, base, ROUTE)
        async with self._pool.lease(base) as replica, replica.open(ROUTE, body) as upstream:
            answer = await whole(upstream, Renaming(ask, base), tally)
        choices = msgspec.json.decode(answer, type=_Completion).choices
        return choices[0].text if choices else ""


def _sum(counted: Iterable[Usage | None]) -> Usage:
    known = [one for one in counted if one is not None]
    return Usage(sum(one.prompt_tokens for one in known), sum(one.completion_tokens or 0 for one in known))
