"""An engine that runs elsewhere, by its address: watched, never started or ended. Knows no adapter and no request.

It must see the registry under the same path, and allow adapters to be loaded at run time, as `graft serve`'s own do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from adapters.errors import Unavailable
from gateway.engines.client import EngineClient
from gateway.engines.contract import State
from gateway.engines.vitals import Vitals

LOOK_S = 1.0

log = logging.getLogger(__name__)


class EngineElsewhere:
    """`starting` → `ready` ⇄ `unreachable`, and `stopped` before `start` and after `stop`.

    A generation begins whenever it answers again: it may have been started anew, and what it holds is asked then.
    """

    def __init__(self, url: str, client: EngineClient, *, vitals: Vitals, on_ready: Callable[[], None] = lambda: None) -> None:
        self.url = url
        self.state: State = "stopped"
        self.generation = 0
        self.pid: int | None = None
        """Not ours to know."""
        self.last_failure: str | None = None
        self._client, self._vitals, self._on_ready = client, vitals, on_ready
        self._ready, self._look_now, self._looked = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.state = "starting"
        self._watching = asyncio.create_task(self._watch(), name=f"engine {self.url}")

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        await self._vitals.stop()
        self.state = "stopped"

    async def step_aside(self, drained: Coroutine[Any, Any, None], why: str) -> None:
        """It uses another machine's accelerator, and stays."""
        drained.close()

    def come_back(self) -> None:
        return

    async def ready(self, timeout_s: float) -> None:
        """Returns once the engine answers. Raises Unavailable after `timeout_s`, or at once if it was stopped."""
        if self.state != "stopped":
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), timeout_s)
                return
        why = f" ({self.last_failure})" if self.last_failure else ""
        raise Unavailable(f"the engine at {self.url} is {self.state}{why}; try again in a moment")

    async def suspect(self) -> None:
        self._looked.clear()
        self._look_now.set()
        await self._looked.wait()

    async def _watch(self) -> None:
        while True:
            trouble = await self._trouble()
            if trouble is None and self.state != "ready":
                self.generation += 1
                self.state, self.last_failure = "ready", None
                self._vitals.begin()
                self._ready.set()
                self._on_ready()
            elif trouble is not None and self.state == "ready":
                self.state, self.last_failure = "unreachable", trouble
                self._ready.clear()
                log.error("engine at %s: %s", self.url, trouble)
            self._look_now.clear()
            self._looked.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), LOOK_S)

    async def _trouble(self) -> str | None:
        if self.state == "ready":
            return await self._vitals.trouble(suspected=True)  # to be out of reach ends nothing: others are asked meanwhile
        status = await self._client.health()
        return None if status == 200 else f"it does not answer (status {status})"
