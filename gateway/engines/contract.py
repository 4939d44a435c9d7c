"""What every kind of engine is: a program that speaks vLLM's HTTP on a Unix socket, given by the command that starts it.

A kind is one function of the settings and a base. Knows no process and no connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.settings import BaseSetting, Settings


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """How to start an engine. Everybody on the machine can read `argv`, so it holds no secret."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    """Added to the gateway's own."""


class EngineKind(Protocol):
    def __call__(self, settings: Settings, base: BaseSetting, socket: Path) -> EngineCommand:
        """The command that serves `base` under its name on `socket`. May read the disk; raises GraftError."""
        ...
