"""Traffic on an OpenAI endpoint, the same list of requests for whoever is measured, and what came of each.

Closed loops say how fast; open arrivals (Poisson) say who waits, which closed loops hide: a caller who waits asks no more.
Knows names and right answers; knows neither Graft nor vLLM.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

TIMEOUT_S = 120.0

IsRight = Callable[[int, str], bool]
"""Whether a text is what the adapter with this number would say."""


@dataclass(frozen=True, slots=True)
class Ask:
    who: int
    """Which adapter, counted from 0; -1 is the base."""
    prompt: str
    at_s: float = 0.0
    """When it arrives, in seconds from the start. Closed loops do not look at it."""


@dataclass(frozen=True, slots=True)
class Record:
    who: int
    at_s: float
    """When it was sent, in seconds from the start."""
    first_s: float
    """Until the first event with a word in it."""
    total_s: float
    tokens: int
    status: int
    """Of HTTP; 0 if the connection broke or the answer did not end."""
    is_right: bool


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked: the same adapters may have other names there."""

    session: aiohttp.ClientSession
    names: Sequence[str]
    base: str
    is_right: IsRight
    max_tokens: int = 16

    async def ask(self, ask: Ask, began: float) -> Record:
        """Streams one answer to its end; every failure is a record."""
        body = {
            "model": self.base if ask.who < 0 else self.names[ask.who],
            "messages": [{"role": "user", "content": ask.prompt}],
            "max_tokens": self.max_tokens, "temperature": 0, "stream": True, "stream_options": {"include_usage": True},
        }  # fmt: skip
        sent = time.monotonic()
        first, read, status = 0.0, bytearray(), 0
        try:
            async with self.session.post("/v1/chat/completions", json=body) as response:
                async for chunk in response.content.iter_any():
                    read += chunk
                    if not first and read.count(b'"content":"') > 1:  # the first one only brings the role
                        first = time.monotonic()
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            status = 0
        text, tokens, ended = _read(bytes(read)) if status == 200 else ("", 0, False)
        now = time.monotonic()
        is_right = ended and (ask.who < 0 or self.is_right(ask.who, text))
        status = status if status != 200 or ended else 0
        return Record(ask.who, sent - began, (first or now) - sent, now - sent, tokens, status, is_right)


def _read(stream: bytes) -> tuple[str, int, bool]:
    """(text, tokens, whether it ended with [DONE]) of a stream of chat events."""
    text, tokens, ended = [], 0, False
    for line in stream.split(b"\n"):
        if line == b"data: [DONE]":
            ended = True
        elif line.startswith(b"data: "):
            event = json.loads(line[6:])
            text += [choice["delta"].get("content") or "" for choice in event.get("choices", ())]
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    return "".join(text), tokens, ended


def session(place: Path | str) -> aiohttp.ClientSession:
    """To a Unix socket (a Path) or an http://host:port. Must be made inside the event loop."""
    connector = aiohttp.UnixConnector(str(place), limit=0) if isinstance(place, Path) else aiohttp.TCPConnector(limit=0)
    url = "http://engine" if isinstance(place, Path) else place
    return aiohttp.ClientSession(url, connector=connector, timeout=aiohttp.ClientTimeout(TIMEOUT_S))


def zipf(adapters: int, count: int, prompts: Sequence[str], *, seed: int = 0, exponent: float = 1.0) -> list[Ask]:
    """`count` requests; adapter k (from 0) is asked in proportion to 1 / (k + 1) ** exponent. 0: all alike."""
    dice = random.Random(seed)
    weights = [1 / (rank + 1) ** exponent for rank in range(adapters)]
    return [Ask(who, dice.choice(prompts)) for who in dice.choices(range(adapters), weights, k=count)]


def poisson(
    who: Sequence[int], rate_per_s: float, seconds: float, prompts: Sequence[str], *, seed: int = 0, from_s: float = 0
) -> list[Ask]:
    """Arrivals of one group, each for an adapter of `who` drawn alike, from `from_s` for `seconds`."""
    dice, asks, at_s = random.Random(seed), [], from_s + 0.0
    while (at_s := at_s + dice.expovariate(rate_per_s)) < from_s + seconds:
        asks.append(Ask(dice.choice(who), dice.choice(prompts), at_s))
    return asks


async def closed(target: Target, asks: Iterable[Ask], callers: int) -> list[Record]:
    """`callers` at a time; each takes the next request of the list as soon as its last one is answered."""
    queue, began = iter(asks), time.monotonic()

    async def caller() -> list[Record]:
        return [await target.ask(ask, began) for ask in queue]

    return list(itertools.chain.from_iterable(await asyncio.gather(*(caller() for _ in range(callers)))))


async def opened(target: Target, asks: Iterable[Ask]) -> list[Record]:
    """Each request at its own time, whatever has become of those before it."""
    began = time.monotonic()

    async def one(ask: Ask) -> Record:
        await asyncio.sleep(max(0.0, began + ask.at_s - time.monotonic()))
        return await target.ask(ask, began)

    return await asyncio.gather(*(one(ask) for ask in asks))


@dataclass(frozen=True, slots=True)
class Summary:
    requests: int
    tokens_per_s: float
    errors: int
    """Everything that is not a whole answer with status 200."""
    wrong: int
    """Whole answers that are not the adapter's."""
    first_p50_s: float
    first_p99_s: float
    total_p50_s: float
    total_p99_s: float

    def __str__(self) -> str:
        return (
            f"{self.tokens_per_s:7.1f} tokens/s  {self.requests:5d} asked  {self.errors:3d} errors  {self.wrong:3d} wrong  "
            f"first token p50 {self.first_p50_s:6.2f} s, p99 {self.first_p99_s:6.2f} s  "
            f"whole p50 {self.total_p50_s:6.2f} s, p99 {self.total_p99_s:6.2f} s"
        )


def summary(records: Sequence[Record]) -> Summary:
    """Tokens of right answers only, over the time from the first request sent to the last one ended."""
    span = max(r.at_s + r.total_s for r in records) - min(r.at_s for r in records)
    whole = [r for r in records if r.status == 200] or list(records)
    first, total = [r.first_s for r in whole], [r.total_s for r in whole]
    return Summary(
        requests=len(records),
        tokens_per_s=sum(r.tokens for r in records if r.is_right) / span,
        errors=sum(r.status != 200 for r in records),
        wrong=sum(r.status == 200 and not r.is_right for r in records),
        first_p50_s=percentile(first, 50), first_p99_s=percentile(first, 99),
        total_p50_s=percentile(total, 50), total_p99_s=percentile(total, 99),
    )  # fmt: skip


def percentile(values: Sequence[float], percent: int) -> float:
    """By linear interpolation between the two nearest values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def worst_wait_s(records: Iterable[Record]) -> dict[int, float]:
    """The longest wait for a first token, by adapter."""
    worst: dict[int, float] = {}
    for record in records:
        worst[record.who] = max(record.first_s, worst.get(record.who, 0.0))
    return worst
