"""What a policy is: it chooses among a base's replicas for one request. Knows no HTTP, no process and no queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Placeable(Protocol):
    @property
    def name(self) -> str:
        """Its own among the replicas of its base, and the same after a restart."""
        ...

    @property
    def is_ready(self) -> bool: ...

    @property
    def busy(self) -> int:
        """Answers under way and requests waiting."""
        ...

    def holds(self, engine_name: str) -> bool:
        """The adapter is loaded there."""
        ...


R = TypeVar("R", bound=Placeable)


@dataclass(frozen=True, slots=True)
class Wanted:
    engine_name: str
    needs_adapter: bool
    """False: the base itself is asked, which every replica has."""
    share: float = 0.0
    """0 to 1: its part of the base's recent requests."""


@dataclass(frozen=True, slots=True)
class PlacementKnobs:
    load_bound: float = 1.25
    """How many times the mean load a replica may have and still be given more by 'affinity'; at least 1."""
    hot_share: float = 0.25
    """Above this share of the requests, and each multiple of it, 'replicate' gives an adapter one more replica."""


class Policy(Protocol):
    def choose(self, replicas: Sequence[R], wanted: Wanted) -> R:
        """One of `replicas` (at least one), and a ready one if any is."""
        ...


def offered(replicas: Sequence[R]) -> Sequence[R]:
    """The ready ones, or all where none is: a request may wait for an engine that is starting."""
    return [replica for replica in replicas if replica.is_ready] or replicas


def least_busy(replicas: Sequence[R]) -> R:
    return min(replicas, key=lambda replica: replica.busy)
