"""Is an engine well? Its /health is asked, and while it has work also whether it still makes tokens. Ends nothing itself.

/health alone is not enough: vLLM's HTTP process answers 200 while the process that computes stands still.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from gateway.engines.contract import Answering


class Vitals:
    def __init__(
        self, client: Answering, *, hang_timeout_s: float, is_busy: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._client, self._hang_timeout_s, self._is_busy, self._clock = client, hang_timeout_s, is_busy, clock
        self._answered = self._moved = clock()
        self._pulse: asyncio.Task[bool] | None = None

    def begin(self) -> None:
        """The engine answers for the first time; from now on silence counts."""
        self._answered = self._moved = self._clock()

    async def trouble(self, *, suspected: bool = False) -> str | None:
        """What is wrong with an engine that has been ready; None while nothing is.

        `suspected`: it has just lost a request, so that it is not given time to answer again.
        """
        status, now = await self._client.health(), self._clock()
        if status == 200:
            self._answered = now
        elif status is not None:
            return f"it said that it is ill (status {status})"
        elif suspected:
            return "it lost a request, and answers no more"
        elif now - self._answered > self._hang_timeout_s:
            return f"it did not answer for {now - self._answered:.0f} s"
        self._feel(now)
        if now - self._moved > self._hang_timeout_s:
            return f"it has requests, and made no token for {now - self._moved:.0f} s"
        return None

    def _feel(self, now: float) -> None:
        if self._pulse is not None and self._pulse.done():
            if self._pulse.result():
                self._moved = now
            self._pulse = None
        if not self._is_busy():
            self._moved = now
        elif self._pulse is None and now - self._moved > self._hang_timeout_s / 2:
            # one token of the base: next to nothing, and only while no sign of life has come for a while
            self._pulse = asyncio.create_task(self._client.pulse())

    async def stop(self) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
            with suppress(asyncio.CancelledError):
                await self._pulse
            self._pulse = None
