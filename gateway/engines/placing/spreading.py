"""Two policies without a home for any adapter: the least busy replica, and each in turn.

Others are measured by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from gateway.engines.placing.contract import PlacementKnobs, R, Wanted, least_busy, offered


class LeastBusy:
    def __init__(self, _: PlacementKnobs) -> None:
        pass

    def choose(self, replicas: Sequence[R], wanted: Wanted) -> R:
        """Of equally busy ones, one that holds the adapter."""
        return min(offered(replicas), key=lambda replica: (replica.busy, not replica.holds(wanted.engine_name)))


class RoundRobin:
    def __init__(self, _: PlacementKnobs) -> None:
        self._asked = count()

    def choose(self, replicas: Sequence[R], wanted: Wanted) -> R:
        replicas = offered(replicas)
        if not wanted.needs_adapter:
            return least_busy(replicas)
        return replicas[next(self._asked) % len(replicas)]
