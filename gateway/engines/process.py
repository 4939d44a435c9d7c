"""Keeps one engine of this machine running: started, watched, started again with growing pauses, ended with its group.

The same for every kind of engine. Knows no adapter and no request; `generation` tells those who do that the engine
has started anew and has forgotten everything.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from adapters.errors import GraftError, Unavailable
from gateway import children
from gateway.engines.contract import Answering, EngineCommand, State
from gateway.engines.leash import leashed
from gateway.engines.sockets import claimed, end_stale
from gateway.engines.vitals import Vitals

GRACE_S = 10.0
"""From SIGTERM to SIGKILL."""
LOOK_S = 0.2
"""Between two questions to a starting engine."""
WATCH_S = 2.0
"""Between two questions to a running one."""
DRAIN_S = 30.0
"""What answers under way get to end when the engine steps aside."""
LONGEST_LOOK_S = 10.0
"""More than a question about its health may take."""
STEADY_S = 60.0
"""An engine that ran this long before it died is started again without a longer pause."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0

log = logging.getLogger(__name__)


class EngineProcess:
    """`starting` → `ready` ⇄ `restarting`, `stopped` before `start` and after `stop`, `aside` while it has lent its memory."""

    def __init__(
        self,
        name: str,
        command: Callable[[], EngineCommand],
        client: Answering,
        *,
        socket: Path,
        log_file: Path,
        start_timeout_s: float,
        vitals: Vitals,
        on_ready: Callable[[], None] = lambda: None,
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.state: State = "stopped"
        self.generation = 0
        """Counts its starts, and its leaving: with each, what was loaded is gone."""
        self.pid: int | None = None
        self.last_failure: str | None = None
        self._why_aside = ""
        self._command, self._client, self._vitals = command, client, vitals
        self._on_ready, self._on_restart = on_ready, on_restart
        self._socket, self._log_file, self._start_timeout_s = socket, log_file, start_timeout_s
        self._ready = asyncio.Event()
        self._look_now = asyncio.Event()
        self._looked = asyncio.Event()
        self._held = ExitStack()
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns at once; `ready` waits. Raises Conflict if another gateway holds the socket."""
        self._note = self._held.enter_context(claimed(self._socket))
        await end_stale(self._note, self._socket)
        self._begin()

    async def stop(self) -> None:
        """Ends the engine's whole process group and leaves neither socket nor pid file."""
        await self._end("stopped")
        self._held.close()

    async def step_aside(self, drained: Coroutine[Any, Any, None], why: str) -> None:
        """Ends the process and keeps its place until `come_back`. Answers under way have until `drained` or DRAIN_S."""
        if self.state in ("stopped", "aside"):
            drained.close()
            return
        self.state, self._why_aside = "aside", why  # nobody begins here any more
        with suppress(TimeoutError):
            await asyncio.wait_for(drained, DRAIN_S)
        await self._end("aside")
        self.generation += 1  # nothing is loaded any more

    def come_back(self) -> None:
        """Starts the engine again that stepped aside; the adapters it held come back as after any start."""
        if self.state == "aside":
            self._begin()

    def _begin(self) -> None:
        self.state, self.last_failure = "starting", None
        self._keeping = asyncio.create_task(self._keep(self._note), name=f"engine {self.name}")

    async def _end(self, state: State) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
        self.state = state

    async def ready(self, timeout_s: float) -> None:
        """Returns once the engine answers. Raises Unavailable after `timeout_s`; at once if it was stopped or is aside."""
        if self.state == "aside":
            raise Unavailable(f"the engine of '{self.name}' {self._why_aside}", retry_after_s=30.0)
        if self.state != "stopped":
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), timeout_s)
                return
        why = f" ({self.last_failure})" if self.last_failure else ""
        raise Unavailable(f"the engine of '{self.name}' is {self.state}{why}; try again in a moment")

    async def suspect(self) -> None:
        """Somebody lost a request to this engine: returns once it was looked at, so that `ready` means ready again."""
        if self.state == "ready":
            self._looked.clear()
            self._look_now.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._looked.wait(), LONGEST_LOOK_S)

    async def _keep(self, note: Path) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            try:
                self.last_failure = await self._run_once(note)
            except (GraftError, OSError) as error:
                self.last_failure = f"it could not be started: {error}"
            self.state = "restarting"
            failures = 0 if time.monotonic() - began > STEADY_S else failures + 1
            pause_s = pause(failures)
            log.error("engine %s: %s; again in %.1f s (log: %s)", self.name, self.last_failure, pause_s, self._log_file)
            await asyncio.sleep(pause_s)
            self._on_restart()

    async def _run_once(self, note: Path) -> str:
        """Runs the engine until it ends or says that it is ill; returns why that was."""
        command = await asyncio.to_thread(self._command)
        self._tidy()
        self.generation += 1
        with self._log_file.open("ab") as output:
            process = await children.start(command.argv, environment=command.environment, stdout=output, stderr=output)
        self.pid = process.pid
        with leashed(process.pid):
            try:
                self._write_down(note, process.pid)
                return await self._watch(process)
            finally:
                self._ready.clear()
                self.pid = None
                await children.end(process, grace_s=GRACE_S)
                self._tidy()

    def _tidy(self) -> None:
        self._socket.unlink(missing_ok=True)  # vLLM refuses to listen where a file lies
        self._log_file.parent.mkdir(parents=True, exist_ok=True)

    def _write_down(self, note: Path, pid: int) -> None:
        # in place, not beside and renamed: the lock is on this very file, and half a number names no engine of ours
        note.write_text(str(pid))

    async def _watch(self, process: Process) -> str:
        deadline = time.monotonic() + self._start_timeout_s
        ended = asyncio.create_task(process.wait())
        try:
            while await self._client.health() != 200:
                if time.monotonic() > deadline:
                    return f"it did not answer within {self._start_timeout_s:.0f} s"
                if await self._ended(ended, LOOK_S):
                    return f"it ended with status {ended.result()}"
            self.state = "ready"
            self._vitals.begin()
            self._ready.set()
            self._on_ready()
            while (trouble := await self._vitals.trouble(suspected=self._look_now.is_set())) is None:
                self._look_now.clear()
                self._looked.set()
                if await self._ended(ended, WATCH_S):
                    trouble = f"it ended with status {ended.result()}"
                    break
            self.last_failure = trouble  # before anybody sees the new state
            return trouble
        finally:
            ended.cancel()
            self._ready.clear()
            self.state = "restarting"
            self._look_now.clear()
            self._looked.set()
            await self._vitals.stop()

    async def _ended(self, ended: asyncio.Task[int], within_s: float) -> bool:
        """Whether the process ended; looks away for so long, or until somebody suspects it."""
        suspected = asyncio.create_task(self._look_now.wait())
        await asyncio.wait({ended, suspected}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        suspected.cancel()
        return ended.done()


def pause(failures: int) -> float:
    """Seconds before the next start: doubling with every failure in a row, half of it random, at most 30.

    "Equal jitter" of https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/: engines that died
    together do not start together.
    """
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 10))
    return longest / 2 + random.uniform(0, longest / 2)  # noqa: S311 - spreads starts, keeps no secret
