"""What a check of `graft doctor` is: a function of the settings that looks at one thing and says what it found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.settings import Settings

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    state: State
    says: str
    do: str = ""
    """What a person can do about it."""


class Check(Protocol):
    def __call__(self, settings: Settings, /) -> Iterator[Finding]:
        """Loads no torch, starts nothing, and makes nothing that was not there. What it raises is a finding too."""
        ...
