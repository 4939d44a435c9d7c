"""Which replica answers. Knows no HTTP and no process; one function, so that a policy is one place to change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Placeable(Protocol):
    @property
    def busy(self) -> int: ...

    def holds(self, engine_name: str) -> bool: ...


R = TypeVar("R", bound=Placeable)


def choose(replicas: Sequence[R], engine_name: str) -> R:
    """One that holds the adapter already, else any; the one with the fewest answers under way among those."""
    return min(replicas, key=lambda replica: (not replica.holds(engine_name), replica.busy))
