"""Keeps names and engines agreeing, in the background: proves what names want, admits canaries, lets the retired go.

All it knows lies in the database, so a gateway that is killed leaves nothing undone: the next one goes on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from adapters.adapted_model import AdaptedModel
from adapters.errors import NotFound, Unavailable, Unproven, Unservable
from gateway.db.names import Names, Pointer
from gateway.db.retirement import BEAT_S, Retirement
from gateway.db.snapshot import FRESH_S, Snapshot
from gateway.engines.pool import Pool

AGAIN_S = 1.0
"""Before a proof that no engine was there for is tried again."""

log = logging.getLogger(__name__)


class Keeper:
    def __init__(self, snapshot: Snapshot, names: Names, pool: Pool, retirement: Retirement) -> None:
        self._snapshot, self._names, self._pool, self._retirement = snapshot, names, pool, retirement
        self.gateway = f"gateway-{secrets.token_hex(6)}"
        """How this gateway is called in the database."""
        self._tasks: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._noted: set[tuple[str, int]] = set()
        self._let_go: set[tuple[str, str]] = set()
        """What is retired, by name and digest, and no longer held by an engine of ours."""
        self._let_go_lately = False
        self._beaten = float("-inf")

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    await self._look()
                except OSError as error:  # a database on a full or lost disk; requests are answered from memory meanwhile
                    log.error("the names could not be read: %s", error)
                await asyncio.sleep(FRESH_S)  # other processes write the names: there is nothing to wait on
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            await asyncio.to_thread(self._retirement.leave, self.gateway)

    async def _look(self) -> None:
        before = self._snapshot.generation
        await self._snapshot.refresh()
        for pointer in self._snapshot.unsettled.values():
            self._attend(pointer)
        while not self._pool.unproven.empty():
            await self._note(*self._pool.unproven.get_nowait())
        now = asyncio.get_running_loop().time()
        if self._snapshot.generation != before or self._let_go_lately or now - self._beaten > BEAT_S:
            self._beaten, self._let_go_lately = now, False
            await self._account(self._snapshot.generation)

    def _attend(self, pointer: Pointer) -> None:
        if pointer.wanted is not None:
            self._once(("want", pointer.name, str(pointer.wanted)), self._settle(pointer.name, pointer.wanted))
        for version in pointer.shares:
            if not self._snapshot.is_admitted(pointer.name, version):
                self._once(("canary", pointer.name, str(version)), self._admit(pointer.name, version))

    def _once(self, key: tuple[str, ...], work: Coroutine[Any, Any, None]) -> None:
        if key in self._tasks:
            work.close()
            return
        self._tasks[key] = asyncio.create_task(work, name=" ".join(key))
        self._tasks[key].add_done_callback(lambda task: self._ended(key, task))

    def _ended(self, key: tuple[str, ...], task: asyncio.Task[None]) -> None:
        del self._tasks[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", " ".join(key), exc_info=error)

    async def _settle(self, name: str, version: int) -> None:
        """Proves what the name wants, and moves it; or says why not, and leaves it."""
        try:
            await self._proven(name, version)
        except Unproven as error:
            await asyncio.to_thread(self._names.quarantine, name, version, error.message)
            await asyncio.to_thread(self._names.refuse, name, version, error.message)
        except (Unservable, NotFound) as error:
            await asyncio.to_thread(self._names.refuse, name, version, error.message)
        else:
            await asyncio.to_thread(self._names.promote, name, version, note="proven", only_if_wanted=True)
        await self._snapshot.refresh()

    async def _admit(self, name: str, version: int) -> None:
        try:
            await self._proven(name, version)
        except (Unservable, NotFound) as error:
            await asyncio.to_thread(self._names.quarantine, name, version, error.message)
        else:
            self._snapshot.admit(name, version)

    async def _proven(self, name: str, version: int) -> None:
        while True:
            try:
                return await self._pool.prove(await self._snapshot.model(name, version))
            except Unavailable as error:
                log.warning("%s@%d is not proven yet: %s", name, version, error.message)
                await asyncio.sleep(AGAIN_S)

    async def _note(self, model: AdaptedModel, reason: str) -> None:
        if (model.name, model.version) not in self._noted:
            self._noted.add((model.name, model.version))
            await asyncio.to_thread(self._names.quarantine, model.name, model.version, reason)

    async def _account(self, generation: int) -> None:
        """Lets go of what was retired, says how far that has come, and removes what no gateway holds any more."""
        waiting = {
            (r.name, r.digest12): r for r in await asyncio.to_thread(self._retirement.waiting) if r.generation <= generation
        }
        self._let_go &= waiting.keys()
        held = {key: retired for key, retired in waiting.items() if key not in self._let_go}
        for key, retired in held.items():
            self._once(("retire", *key), self._retire(key, retired.engine_name))
        await self._stop_idle_engines()
        done_with = min((retired.generation for retired in held.values()), default=generation + 1) - 1
        await asyncio.to_thread(self._retirement.beat, self.gateway, done_with)
        for gone in await asyncio.to_thread(self._retirement.collect) if waiting else ():
            log.info("removed the files of %s (%s)", gone.name, gone.digest12)

    async def _retire(self, key: tuple[str, str], engine_name: str) -> None:
        await self._pool.retire(engine_name)
        self._let_go.add(key)
        self._let_go_lately = True

    async def _stop_idle_engines(self) -> None:
        """Merged models have engines of their own, which end when nothing leads to the model any more."""
        for engine_name in self._pool.merged:
            name = engine_name.rpartition("--")[0]
            pointer = await asyncio.to_thread(self._names.pointer, name)
            kept = set()
            for version in pointer.versions if pointer is not None else ():
                with suppress(NotFound):
                    kept.add((await self._snapshot.model(name, version)).engine_name)
            if engine_name not in kept:
                await self._pool.retire(engine_name)
