"""One engine with all that belongs to it: its process or address, its queues, the adapters it holds.

A request takes a seat: queued fairly, its adapter there and proven, counted until it ends. Knows no name callers use.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any

import aiohttp

from adapters.errors import EngineLost, Unavailable
from gateway.engines.admission import Admission
from gateway.engines.client import EngineClient
from gateway.engines.contract import Engine, EngineKind, Slots
from gateway.engines.elsewhere import EngineElsewhere
from gateway.engines.holdings import Cargo, Holdings
from gateway.engines.kinds import ENGINES
from gateway.engines.process import EngineProcess
from gateway.engines.sockets import socket_path
from gateway.engines.vitals import Vitals
from gateway.settings import BaseSetting, Settings
from gateway.telemetry import Telemetry

AUDIT_S = 30.0
"""How often what we believe the engine holds is compared with its own list."""


class Replica:
    def __init__(
        self, settings: Settings, base: BaseSetting, number: int, slots: Slots | None, *,
        turn: asyncio.Lock, telemetry: Telemetry, hottest_first: Callable[[list[str]], list[str]],
        kind: EngineKind | None = None,
    ) -> None:  # fmt: skip
        """The `number`-th of the base: first the children of this machine, then those elsewhere. No slots: no adapters."""
        self.base, self.name = base.name, f"{base.name}-{number}"
        self._telemetry, self._hottest_first = telemetry, hottest_first
        self._waking: set[asyncio.Task[None]] = set()
        self._left = asyncio.Event()
        """Somebody's answer has ended."""
        at = socket_path(settings, self.name) if number < base.replicas else base.urls[number - base.replicas]
        self.client = EngineClient(base.name, at)
        vitals = Vitals(self.client, hang_timeout_s=settings.engine_hang_timeout_s, is_busy=lambda: self.busy > 0)
        self.engine: Engine
        if isinstance(at, str):
            self.engine = EngineElsewhere(at, self.client, vitals=vitals, on_ready=self._wake)
        else:
            self.engine = EngineProcess(
                self.name,
                partial(kind or ENGINES[settings.engine_kind], settings, base, at, slots),
                self.client,
                socket=at,
                log_file=settings.logs / f"engine-{self.name}.log",
                start_timeout_s=settings.engine_start_timeout_s,
                vitals=vitals,
                on_ready=self._wake,
                on_restart=telemetry.restarts.labels(base.name).inc,
            )
        self.admission = Admission(
            slots=slots.max_loras if slots else 1, in_flight=settings.engine_max_in_flight, waiting=settings.engine_max_waiting
        )
        self.holdings = Holdings(
            self.engine, self.client, room=slots.max_cpu_loras if slots else 1,
            in_use=lambda engine_name: engine_name in self.admission.running, turn=turn,
            loaded=lambda seconds, outcome: telemetry.adapter_load.labels(base.name, outcome).observe(seconds),
        )  # fmt: skip

    @property
    def busy(self) -> int:
        """Requests that wait here or are being answered."""
        return self.holdings.pins.total()

    @property
    def is_ready(self) -> bool:
        return self.engine.state == "ready"

    def holds(self, engine_name: str) -> bool:
        return self.holdings.holds(engine_name)

    @asynccontextmanager
    async def seat(self, cargo: Cargo | None, engine_name: str, *, ready_wait_s: float) -> AsyncIterator[None]:
        """A place among the answers under way. `cargo`: the adapter it needs; none for plain weights.

        Raises Unavailable (no engine in time), Overloaded (too many wait), Unservable (the adapter).
        """
        needs_slot = cargo is not None and cargo.is_adapter
        try:
            with self.holdings.pinned(engine_name):
                await self.engine.ready(ready_wait_s)
                self.holdings.raise_failure(engine_name)
                async with self.admission.admitted(engine_name, needs_slot=needs_slot):
                    if cargo is not None:
                        await self._bring(cargo)
                    yield
        finally:
            self._left.set()

    async def _bring(self, cargo: Cargo) -> None:
        try:
            if cargo.is_adapter:
                await self.holdings.bring(cargo)
            await self.holdings.prove(cargo)
        except EngineLost:
            await self.engine.suspect()
            raise

    def open(self, path: str, body: bytes) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self.client.open(path, body)

    async def lost(self) -> None:
        """A request was lost here: looks whether the engine is still well, and what it still has."""
        await self.engine.suspect()
        if self.is_ready:
            with suppress(EngineLost):
                await self.holdings.drop_unlisted()

    def state(self) -> dict[str, Any]:
        engine = self.engine
        return {
            "name": self.name,
            "state": engine.state,
            "starts": engine.generation,
            "pid": engine.pid,
            "last_failure": engine.last_failure,
            "adapters": self.holdings.names,
            "in_flight": dict(self.admission.running),
            "waiting": dict(self.admission.waiting),
        }

    async def start(self) -> None:
        await self.engine.start()

    async def step_aside(self, why: str) -> None:
        """Its engine ends until `come_back`; new requests are refused with the reason, those under way may end first."""
        await self.engine.step_aside(self._drained(), why)

    def come_back(self) -> None:
        self.engine.come_back()

    async def _drained(self) -> None:
        while self.busy:
            self._left.clear()
            await self._left.wait()

    async def stop(self) -> None:
        for task in self._waking:
            task.cancel()
        await asyncio.gather(*self._waking, return_exceptions=True)
        await self.holdings.stop()
        await self.engine.stop()
        await self.client.close()

    def _wake(self) -> None:
        task = asyncio.create_task(self._reconcile(), name=f"reconcile {self.name}")
        self._waking.add(task)
        task.add_done_callback(self._waking.discard)

    async def _reconcile(self) -> None:
        generation = self.engine.generation
        with suppress(Unavailable):  # it is gone again; this begins anew when it answers
            await self.holdings.reconcile(self._hottest_first)
            while generation == self.engine.generation and self.is_ready:
                await asyncio.sleep(AUDIT_S)  # somebody may unload an adapter of an engine that is not ours alone
                await self.holdings.drop_unlisted()
