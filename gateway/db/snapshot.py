"""The names as requests see them: a snapshot in memory, brought up to date by what has changed since.

A request that finds its name reads neither database nor disk, however many names there are. Knows no engine.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable

from adapters.adapted_model import AdaptedModel
from adapters.errors import NotFound, Unavailable
from gateway.db.names import Names, Pointer

FRESH_S = 0.1
MODELS_KEPT = 8192
"""Versions whose manifests stay read, the most recently used; a few kilobytes each."""


class Snapshot:
    def __init__(self, names: Names, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.names, self._clock = names, clock
        self.generation = -1
        self._checked = float("-inf")
        self._pointers: dict[str, Pointer] = {}
        self.unsettled: dict[str, Pointer] = {}
        """Names that want a version, or have canaries."""
        self._order: list[str] = []
        """Names that answer, sorted, for pages."""
        self._models: OrderedDict[tuple[str, int], AdaptedModel] = OrderedDict()
        self._admitted: set[tuple[str, int]] = set()
        self._refreshing = asyncio.Lock()

    async def resolve(self, said: str, sticky: str | None = None) -> AdaptedModel:
        """The model that `name` leads to, or the very one that `name@version` pins. Raises NotFound (`model_not_found`).

        Where canaries run, the same `sticky` key always leads to the same version; without one, chance decides.
        """
        name, _, pin = said.partition("@")
        if self._clock() - self._checked > FRESH_S or name not in self._pointers:
            await self.refresh()
        pointer = self._pointers.get(name)
        if pointer is None or (pointer.version is None and pointer.wanted is None and pointer.remark is None):
            raise _unknown(f"The model '{said}' does not exist. `GET /v1/models` lists those that do.")
        if pin:
            if not pin.isdigit():
                raise _unknown(f"'{said}': a version is a number, as in '{name}@1'")
            return await self.model(name, int(pin))
        if pointer.version is None:
            if pointer.wanted is None:
                raise _unknown(f"'{name}' answers with nothing: {pointer.remark}")
            raise Unavailable(f"'{name}' is new: version {pointer.wanted} is being loaded and proven", retry_after_s=1.0)
        return await self.model(name, self._chosen(pointer, sticky))

    def _chosen(self, pointer: Pointer, sticky: str | None) -> int:
        assert pointer.version is not None  # the caller has seen to it
        drawn, passed = None, 0.0
        for version, share in sorted(pointer.shares.items()):
            if (pointer.name, version) in self._admitted:
                drawn = _draw(pointer.name, sticky) if drawn is None else drawn
                passed += share
                if drawn < passed:
                    return version
        return pointer.version

    def is_admitted(self, name: str, version: int) -> bool:
        return (name, version) in self._admitted

    def admit(self, name: str, version: int) -> None:
        """The canary is proven here: from now on it gets its share."""
        self._admitted.add((name, version))

    def page(self, after: str | None, limit: int) -> tuple[list[Pointer], bool]:
        """(names that answer, in order, beginning behind `after`; whether there are more)."""
        start = bisect_right(self._order, after) if after is not None else 0
        found = self._order[start : start + limit]
        return [self._pointers[name] for name in found], start + limit < len(self._order)

    def pointer(self, name: str) -> Pointer | None:
        return self._pointers.get(name)

    async def refresh(self) -> list[Pointer]:
        """Reads what has changed since the last time, whoever asked then, and returns it."""
        async with self._refreshing:
            generation, changed = await asyncio.to_thread(self.names.changes, self.generation)
            for pointer in changed:
                self._pointers[pointer.name] = pointer
                if pointer.wanted is not None or pointer.shares:
                    self.unsettled[pointer.name] = pointer
                else:
                    self.unsettled.pop(pointer.name, None)
            if changed:
                names = {pointer.name for pointer in changed}
                # a version never changes, but it may be gone; what did not change stays read
                for key in [key for key in self._models if key[0] in names]:
                    del self._models[key]
                self._order = sorted(p.name for p in self._pointers.values() if p.version is not None)
            self.generation, self._checked = generation, self._clock()
            return changed

    async def model(self, name: str, version: int) -> AdaptedModel:
        """Raises NotFound (`model_not_found`)."""
        found = self._models.get((name, version))
        if found is not None:
            self._models.move_to_end((name, version))
            return found
        try:
            found = await asyncio.to_thread(self.names.registry.load, name, version)
        except NotFound as error:
            raise _unknown(error.message) from error
        self._models[name, version] = found
        if len(self._models) > MODELS_KEPT:
            self._models.popitem(last=False)
        return found


def _unknown(message: str) -> NotFound:
    return NotFound(message, param="model", code="model_not_found")


def _draw(name: str, sticky: str | None) -> float:
    """Evenly from [0, 1); the same for the same name and key, in every gateway."""
    if sticky is None:
        return random.random()  # noqa: S311 - splits traffic, keeps no secret
    hashed = hashlib.blake2b(f"{name}\0{sticky}".encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "big") / 2**64
