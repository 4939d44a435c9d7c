"""The adapters that one engine holds: loaded once however many want them, proven, kept while in use, forgotten for room.

Who wants an adapter pins it first; what is pinned is not retired, what is in use is not forgotten. Knows no placement.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from adapters.errors import Unproven, Unservable
from adapters.evaluation.probe import Probe, as_chat_requests, as_request, judge, read_chat_replies, read_reply
from adapters.soft_slot import Slot
from gateway.engines.client import EngineClient
from gateway.engines.contract import Engine

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 5.0, 300.0
"""A refused adapter is not tried again for this long, doubling: each load stalls every answer of the engine."""


@dataclass(frozen=True, slots=True)
class Cargo:
    """What an engine is to hold: the files, and how to prove that they took effect."""

    engine_name: str
    folder: Path
    probe: Probe | None = None
    is_adapter: bool = True
    """False where there is nothing to load, but something to prove: a soft prompt, which comes with each question, or an
    engine whose own weights are the model's."""
    slot: Slot | None = None
    """Of a soft prompt."""


@dataclass(slots=True)
class Failure:
    error: Unservable
    times: int
    until: float


class Holdings:
    def __init__(
        self, engine: Engine, client: EngineClient, *, room: int, in_use: Callable[[str], bool], turn: asyncio.Lock,
        loaded: Callable[[float, str], None] = lambda seconds, outcome: None, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`room`: adapters the engine keeps in memory, more than can be in use at once.

        `turn` is held while loading: each load stalls the engine, and so it is one replica at a time.
        """
        self._engine, self._client, self._room, self._in_use, self._turn = engine, client, room, in_use, turn
        self._said, self._clock = loaded, clock
        self._generation = -1
        self._held: OrderedDict[str, Cargo] = OrderedDict()
        """Loaded in this generation, the most recently used last."""
        self._before: OrderedDict[str, Cargo] = OrderedDict()
        """What the engine held before it was started anew."""
        self._proven: set[str] = set()
        self._at_work: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._failures: dict[str, Failure] = {}
        self._pins: Counter[str] = Counter()
        self._unpinned: dict[str, asyncio.Event] = {}

    @property
    def names(self) -> list[str]:
        self._notice()
        return list(self._held)

    def holds(self, engine_name: str) -> bool:
        self._notice()
        return engine_name in self._held

    @property
    def pins(self) -> Counter[str]:
        """Requests that wait for or get an answer, by engine name."""
        return self._pins

    @contextmanager
    def pinned(self, engine_name: str) -> Iterator[None]:
        self._pins[engine_name] += 1
        try:
            yield
        finally:
            self._pins[engine_name] -= 1
            if not self._pins[engine_name]:
                del self._pins[engine_name]
                if (event := self._unpinned.pop(engine_name, None)) is not None:
                    event.set()

    async def bring(self, cargo: Cargo) -> None:
        """Returns once the engine has the adapter. Raises Unservable with its reason, for a while without asking again."""
        self.raise_failure(cargo.engine_name)
        if cargo.engine_name in self._held:
            self._held.move_to_end(cargo.engine_name)
            return
        await self._once(("load", cargo.engine_name), partial(self._load, cargo))

    async def prove(self, cargo: Cargo) -> None:
        """Returns once the engine has shown that the adapter took effect. Raises Unproven, and the engine forgets it."""
        self.raise_failure(cargo.engine_name)
        if cargo.probe is not None and cargo.engine_name not in self._proven:
            await self._once(("prove", cargo.engine_name), partial(self._prove, cargo))

    async def retire(self, engine_name: str) -> None:
        """Returns once nobody uses the adapter and the engine has forgotten it: its files may go."""
        while engine_name in self._pins:
            await self._unpinned.setdefault(engine_name, asyncio.Event()).wait()
        self._before.pop(engine_name, None)
        if self.holds(engine_name):
            await self._forget(engine_name)

    async def reconcile(self, order: Callable[[list[str]], list[str]]) -> None:
        """The engine was started anew, or was out of reach: what it held before is brought back, in the order given."""
        self._notice()
        listed = await self._client.listed()
        for name in [name for name in self._held if name not in listed]:
            self._before[name] = self._held.pop(name)
        for name, cargo in list(self._before.items()):
            if name in listed:  # an engine elsewhere, which was not started anew after all; its proof still counts
                self._held[name] = cargo
        for name in order([name for name in self._before if name not in self._held])[: self._room]:
            with suppress(Unservable):  # remembered, and told to whoever asks for it; the others come back all the same
                await self.bring(self._before[name])
        self._before.clear()

    async def drop_unlisted(self) -> None:
        """What the engine no longer lists is not held any more, and loaded again for the next who wants it."""
        listed = await self._client.listed()
        for name in [name for name in self._held if name not in listed]:
            del self._held[name]

    async def stop(self) -> None:
        tasks = list(self._at_work.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _notice(self) -> None:
        if self._generation != self._engine.generation:
            self._generation = self._engine.generation
            self._before.update(self._held)
            self._held.clear()
            self._proven.clear()
            self._failures.clear()

    async def _once(self, key: tuple[str, str], work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if key not in self._at_work:
            self._at_work[key] = asyncio.create_task(work())
            self._at_work[key].add_done_callback(partial(self._done, key))
        # shielded: that one caller leaves must not take the adapter away from the others
        await asyncio.shield(self._at_work[key])

    def _done(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        self._at_work.pop(key, None)
        if not task.cancelled() and isinstance(error := task.exception(), Unservable):
            times = self._failures[key[1]].times + 1 if key[1] in self._failures else 1
            pause_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (times - 1))
            self._failures[key[1]] = Failure(error, times, self._clock() + pause_s)

    def raise_failure(self, engine_name: str) -> None:
        """Raises Unservable if the engine refused the adapter a short while ago."""
        self._notice()
        failure = self._failures.get(engine_name)
        if failure is not None and self._clock() < failure.until:
            raise failure.error

    async def _load(self, cargo: Cargo) -> None:
        began, outcome = self._clock(), "failed"
        try:
            async with self._turn:
                self._notice()
                generation = self._generation
                await self._make_room()
                if not cargo.folder.is_dir():
                    raise Unservable(
                        f"the files of the adapter '{cargo.engine_name}' are gone; publish the model again", param="model"
                    )
                await self._client.load(cargo.engine_name, cargo.folder)
                self._notice()
                if generation == self._generation:
                    self._held[cargo.engine_name] = cargo
                    self._failures.pop(cargo.engine_name, None)
            outcome = "loaded"
        finally:
            self._said(self._clock() - began, outcome)

    async def _make_room(self) -> None:
        """The engine's memory for adapters is never promised twice: the least recently used goes, if need be waited for."""
        while len(self._held) >= self._room:
            idle = [name for name in self._held if not self._in_use(name)]
            await self._forget(next((name for name in idle if name not in self._pins), idle[0]))

    async def _forget(self, engine_name: str) -> None:
        del self._held[engine_name]
        self._proven.discard(engine_name)
        await self._client.unload(engine_name)

    async def _prove(self, cargo: Cargo) -> None:
        assert cargo.probe is not None  # `prove` has seen to it
        generation = self._generation
        verdict = judge(cargo.probe, await self._seen(cargo, cargo.probe))
        self._notice()
        if not verdict.passed:
            if cargo.is_adapter and self.holds(cargo.engine_name):
                await self._forget(cargo.engine_name)
            raise Unproven(
                f"'{cargo.engine_name}' was loaded and does not serve what was trained: {verdict.reason}", param="model"
            )
        if generation == self._generation:
            self._proven.add(cargo.engine_name)

    async def _seen(self, cargo: Cargo, probe: Probe) -> list[list[float]]:
        """The engine's log-probabilities of the probe's tokens, row by row."""
        if cargo.slot is None:
            return read_reply(probe, await self._client.ask(as_request(probe, cargo.engine_name)))
        bodies = as_chat_requests(probe, cargo.slot)
        return read_chat_replies(probe, [await self._client.ask(body, "/v1/chat/completions") for body in bodies])
