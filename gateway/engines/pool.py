"""The engines of this gateway: which of them answers for a model, and that its adapter is there before it is asked.

An adapter is loaded when it is first wanted, once however many want it, and again after its engine has restarted.
Knows no HTTP route and no name that callers use.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from adapters.adapted_model import AdaptedModel
from adapters.errors import NotFound, Unavailable, Unservable
from adapters.registry import Registry
from gateway.engines.client import EngineClient
from gateway.engines.kinds import ENGINES
from gateway.engines.placement import choose
from gateway.engines.process import EngineProcess
from gateway.engines.sockets import socket_path
from gateway.settings import BaseSetting, Settings
from gateway.telemetry import Telemetry

READY_WAIT_S = 90.0
"""A request waits this long for an engine that is starting: about twice what vLLM takes on a CPU."""
FAILURE_KEPT_S = 5.0
"""A refused adapter is not tried again for this long: each load stalls every answer of the engine."""


class Replica:
    """One engine of one base."""

    def __init__(self, settings: Settings, base: BaseSetting, telemetry: Telemetry) -> None:
        socket = socket_path(settings, base.name)
        self.base = base.name
        self.client = EngineClient(base.name, socket)
        self.process = EngineProcess(
            base.name,
            partial(ENGINES[settings.engine_kind], settings, base, socket),
            self.client,
            socket=socket,
            log_file=settings.logs / f"engine-{base.name}.log",
            start_timeout_s=settings.engine_start_timeout_s,
            on_restart=telemetry.restarts.labels(base.name).inc,
        )
        self.in_flight: Counter[str] = Counter()
        """Answers under way, by engine name."""
        self._loads: dict[tuple[int, str], asyncio.Task[None]] = {}
        self._telemetry = telemetry

    @property
    def busy(self) -> int:
        return self.in_flight.total()

    def holds(self, engine_name: str) -> bool:
        return engine_name in self.loaded

    @property
    def loaded(self) -> list[str]:
        """The adapters that the engine, as it runs now, has taken."""
        now = self.process.generation
        return [
            name
            for (generation, name), task in self._loads.items()
            if generation == now and task.done() and not task.cancelled() and task.exception() is None
        ]

    async def bring(self, engine_name: str, folder: Path) -> None:
        """Returns once the adapter is loaded; everybody who asks meanwhile waits for the same load.

        Raises Unservable with the engine's reason, for a few seconds without asking it again.
        """
        key = (self.process.generation, engine_name)
        if key not in self._loads:
            for old in [old for old in self._loads if old[0] != key[0]]:
                del self._loads[old]
            self._loads[key] = asyncio.create_task(self._load(engine_name, folder))
            self._loads[key].add_done_callback(partial(self._forget_failure, key))
        # shielded: that one caller leaves must not take the adapter away from the others
        await asyncio.shield(self._loads[key])

    async def _load(self, engine_name: str, folder: Path) -> None:
        began, outcome = time.monotonic(), "failed"
        try:
            if not folder.is_dir():  # noqa: ASYNC240 - one stat of a local folder, before a load that costs far more
                raise Unservable(f"the files of the adapter '{engine_name}' are gone; publish the model again", param="model")
            await self.client.load(engine_name, folder)
            outcome = "loaded"
        finally:
            self._telemetry.adapter_load.labels(self.base, outcome).observe(time.monotonic() - began)

    def _forget_failure(self, key: tuple[int, str], task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            remember = not task.cancelled() and isinstance(task.exception(), Unservable)
            asyncio.get_running_loop().call_later(FAILURE_KEPT_S if remember else 0, self._loads.pop, key, None)

    @asynccontextmanager
    async def counted(self, engine_name: str) -> AsyncIterator[None]:
        self.in_flight[engine_name] += 1
        try:
            yield
        finally:
            self.in_flight[engine_name] -= 1
            if not self.in_flight[engine_name]:
                del self.in_flight[engine_name]

    def open(self, path: str, body: bytes) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self.client.open(path, body)

    def state(self) -> dict[str, Any]:
        process = self.process
        return {
            "state": process.state,
            "starts": process.generation,
            "pid": process.pid,
            "last_failure": process.last_failure,
            "adapters": self.loaded,
            "in_flight": dict(self.in_flight),
        }

    async def stop(self) -> None:
        for task in self._loads.values():
            task.cancel()
        await self.process.stop()
        await self.client.close()


class Pool:
    """`start` and `stop` belong into the life of the event loop that serves; nothing is opened before `start`."""

    def __init__(
        self, settings: Settings, registry: Registry, telemetry: Telemetry, *, ready_wait_s: float = READY_WAIT_S
    ) -> None:
        self._settings, self._registry, self._telemetry = settings, registry, telemetry
        self._ready_wait_s = ready_wait_s
        self._replicas: dict[str, list[Replica]] = {}

    async def start(self) -> None:
        """Starts every base's engine and returns without waiting for them. Raises Conflict if another gateway has them."""
        for base in self._settings.bases:
            self._replicas[base.name] = [Replica(self._settings, base, self._telemetry)]
        try:
            for replica in self._all():
                await replica.process.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await asyncio.gather(*(replica.stop() for replica in self._all()))
        self._replicas.clear()

    @property
    def is_ready(self) -> bool:
        """Every base has an engine that answers."""
        return bool(self._replicas) and all(
            any(replica.process.state == "ready" for replica in replicas) for replicas in self._replicas.values()
        )

    def engine_state(self) -> dict[str, list[dict[str, Any]]]:
        """What every engine is doing, by base; plain JSON."""
        return {base: [replica.state() for replica in replicas] for base, replicas in self._replicas.items()}

    @asynccontextmanager
    async def lease(self, model: AdaptedModel) -> AsyncIterator[Replica]:
        """A replica that answers for the model under `model.engine_name`, counted as busy until this ends.

        Raises Unavailable (no engine in time), Unservable (the adapter), NotFound (its base is not served here).
        """
        self._check(model)
        replica = choose(self._replicas[model.base], model.engine_name)
        async with replica.counted(model.engine_name):
            await replica.process.ready(self._ready_wait_s)
            if model.adapter is not None:
                await replica.bring(model.engine_name, self._registry.adapter_folder(model))
            yield replica

    def _check(self, model: AdaptedModel) -> None:
        if not self._replicas:
            raise Unavailable("the gateway is starting or stopping; try again in a moment")
        if model.base not in self._replicas:
            served = ", ".join(self._replicas)
            raise NotFound(
                f"'{model.name}' stands on the base '{model.base}', which is not served here (served: {served}); "
                "add it to [[bases]]",
                param="model",
                code="model_not_found",
            )
        if model.adapter is not None and model.adapter.kind != "lora":
            raise Unservable(f"'{model.name}' has a {model.adapter.kind} adapter; engines serve LoRA only", param="model")
        if model.retrieval is not None:
            raise Unservable(f"'{model.name}' needs documents to be searched, which is not served yet", param="model")

    def _all(self) -> list[Replica]:
        return [replica for replicas in self._replicas.values() for replica in replicas]
