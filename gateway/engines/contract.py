"""What every kind of engine is: a program that speaks vLLM's HTTP on a Unix socket, given by the command that starts it.

A kind is one function of the settings and a base. Knows no process and no connection.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from gateway.settings import BaseSetting, Settings

State = Literal["starting", "ready", "restarting", "unreachable", "aside", "stopped"]


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """How to start an engine. Everybody on the machine can read `argv`, so it holds no secret."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    """Added to the gateway's own."""


@dataclass(frozen=True, slots=True)
class Slots:
    """What an engine can have of adapters, decided when it starts (vLLM's options of the same names)."""

    max_loras: int
    """Distinct adapters in one batch."""
    max_lora_rank: int
    max_cpu_loras: int
    """Adapters kept in memory, those in a batch included."""


class Answering(Protocol):
    """Whoever can be asked how it is."""

    async def health(self) -> int | None:
        """The status of GET /health; None if nothing answers."""

    async def pulse(self) -> bool:
        """Waits until it has done a little real work for us; False if it does not."""


class EngineKind(Protocol):
    def __call__(self, settings: Settings, base: BaseSetting, socket: Path, slots: Slots | None) -> EngineCommand:
        """The command that serves `base` under its name on `socket`, without adapters where there are no slots.

        May read the disk; raises GraftError.
        """
        ...


class Engine(Protocol):
    """A running engine, wherever it runs. Each `generation` begins with nothing loaded."""

    state: State
    generation: int
    pid: int | None
    last_failure: str | None

    async def start(self) -> None: ...
    async def stop(self) -> None: ...

    async def step_aside(self, drained: Coroutine[Any, Any, None], why: str) -> None:
        """Ends until `come_back`: at once for new requests, who are told why, for those under way once `drained` returns."""

    def come_back(self) -> None: ...

    async def ready(self, timeout_s: float) -> None:
        """Returns once it answers. Raises Unavailable after `timeout_s`, or at once if it was stopped."""

    async def suspect(self) -> None:
        """Somebody lost a request to it: returns once it was looked at."""
