"""A job as the queue remembers it, and what happened to it. Knows no database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adapters.errors import Conflict

FINAL = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Job:
    id: str
    kind: str
    payload: dict[str, Any]
    state: str
    attempt: int
    fence: int
    cancel_requested: bool
    pause_requested: bool
    tenant: str
    labels: dict[str, str] | None
    asked: dict[str, Any] | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    error: dict[str, Any] | None
    result: dict[str, Any] | None

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    @property
    def wish(self) -> str | None:
        """What somebody wants of it while it runs: that it is `cancelled`, or else `paused`."""
        return "cancelled" if self.cancel_requested else "paused" if self.pause_requested else None


@dataclass(frozen=True, slots=True)
class JobEvent:
    id: int
    at: float
    message: str


class LeaseLost(Conflict):
    """Another runner has claimed the job since; whoever sees this must stop touching it."""

    code = "lease_lost"
