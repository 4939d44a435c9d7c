"""What the gateway costs: requests and streams per second through it, beside the same stub engine asked directly.

The stub answers at once and says that it is one, so all the time is the path's. Sixteen callers, rounds in turns.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from tests.flows.serving import serving

CALLERS, ROUNDS, ROUND_S = 16, 5, 3.0
ASK = {"model": "smollm2", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 64}


async def _round(session: aiohttp.ClientSession, url: str, *, stream: bool) -> float:
    """Answers per second."""
    until, answers = time.monotonic() + ROUND_S, 0

    async def caller() -> None:
        nonlocal answers
        while time.monotonic() < until:
            async with session.post(url, json=ASK | {"stream": stream}) as response:
                body = await response.read()
                assert response.status == 200, body
                assert not stream or body.rstrip().endswith(b"data: [DONE]")
            answers += 1

    started = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return answers / (time.monotonic() - started)


async def _compare(gateway: str, socket: Path) -> None:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as outside,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket), limit=0)) as inside,
    ):
        for stream in (False, True):
            figures: dict[str, list[float]] = {"through the gateway": [], "engine asked directly": []}
            for _ in range(ROUNDS):
                figures["through the gateway"].append(await _round(outside, f"{gateway}/v1/chat/completions", stream=stream))
                figures["engine asked directly"].append(
                    await _round(inside, "http://engine/v1/chat/completions", stream=stream)
                )
            ratio = statistics.median(a / b for a, b in zip(*figures.values(), strict=True))
            for name, rates in figures.items():
                low, middle, high = min(rates), statistics.median(rates), max(rates)
                what = "streams of 64 tokens" if stream else "answers"
                print(f"{name:22} {middle:8.0f} {what}/s  (min {low:.0f}, max {high:.0f})")
            print(f"{'ratio, median of pairs':22} {ratio:8.2f}\n")


def main(_: Sequence[str] = ()) -> None:
    with tempfile.TemporaryDirectory() as home, serving(Path(home), "--engine", "stub") as served:
        asyncio.run(_compare(served.url, Path(home) / "sockets" / "smollm2.sock"))
