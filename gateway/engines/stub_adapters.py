"""What vLLM does with LoRA adapters, without weights: names, a cache in memory, few slots, and loads that stall everybody.

As observed of vLLM 0.32 (names live until unloaded, the two caches are LRU, an evicted adapter is read again inside a
step) and in its scheduler (an answer whose adapter finds no slot waits while others pass it). Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class LoadRefused(Exception):
    """A load that vLLM would refuse: `status` and message as it gives them."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


class Adapters:
    def __init__(self, *, base: str, max_loras: int, max_rank: int, max_cpu_loras: int, load_s: float) -> None:
        self._base, self._max_loras, self._max_rank = base, max_loras, max_rank
        self._max_cpu_loras, self._load_s = max_cpu_loras, load_s
        self.folders: dict[str, Path] = {}
        self.in_memory: OrderedDict[str, None] = OrderedDict()
        self.running: Counter[str] = Counter()
        """Answers under way, by adapter."""
        self.reads: Counter[str] = Counter()
        """Reads from disk, by adapter: the load and every reload after an eviction."""
        self._changed = asyncio.Condition()
        self._reading = asyncio.Lock()
        self._step = asyncio.Event()
        self._step.set()

    async def load(self, name: str, folder: str) -> None:
        """Raises LoadRefused, in vLLM's words."""
        if not name or not folder:
            raise LoadRefused(400, "InvalidUserInput", "Both 'lora_name' and 'lora_path' must be provided.")
        if name == self._base:
            raise LoadRefused(400, "InvalidUserInput", f"The lora adapter '{name}' conflicts with a served base model.")
        async with self._reading:
            if name in self.folders:
                raise LoadRefused(
                    400,
                    "InvalidUserInput",
                    f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, "
                    "set 'load_inplace' to True.",
                )
            await self._read(name, Path(folder))
            self.folders[name] = Path(folder)

    def unload(self, name: str) -> bool:
        """Forgets the name only: answers under way finish, and the memory is freed when others need it."""
        return self.folders.pop(name, None) is not None

    @asynccontextmanager
    async def slot(self, name: str) -> AsyncIterator[None]:
        """Holds a slot for one answer of the adapter (of the base: always free)."""
        if name == self._base:
            yield
            return
        folder = self.folders[name]
        async with self._changed:
            await self._changed.wait_for(lambda: name in self.running or len(self.running) < self._max_loras)
            self.running[name] += 1
        try:
            if name in self.in_memory:
                self.in_memory.move_to_end(name)
            else:
                async with self._reading:
                    await self._read(name, folder)
            yield
        finally:
            async with self._changed:
                self.running[name] -= 1
                self.running += Counter()  # drops the zeros, so that the length is the number of slots in use
                self._changed.notify_all()

    async def step(self) -> None:
        """Returns when no load stalls the engine."""
        await self._step.wait()

    async def _read(self, name: str, folder: Path) -> None:
        self._step.clear()
        try:
            await asyncio.sleep(self._load_s)
            try:
                rank = int(json.loads((folder / "adapter_config.json").read_text())["r"])
            except FileNotFoundError:
                message = f"Loading lora {name} failed: No adapter found for {folder}"
                raise LoadRefused(404, "NotFoundError", message) from None
            if rank > self._max_rank:
                message = f"LoRA rank {rank} is greater than max_lora_rank {self._max_rank}."
                message = f"Call to add_lora method failed: Worker failed with error '{message}', please check the stack trace"
                raise LoadRefused(500, "InternalServerError", message + " above for the root cause")
        finally:
            self._step.set()
        self.reads[name] += 1
        self.in_memory[name] = None
        while len(self.in_memory) > self._max_cpu_loras:
            self.in_memory.popitem(last=False)
