"""An adapter's requests go to its own replica, so that it is loaded there and nowhere else, while the load stays bounded.

`Affinity` keeps to one replica as long as that is not too busy; `Replicate` gives hot adapters several.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

from gateway.engines.placing.contract import PlacementKnobs, R, Wanted, least_busy, offered

ALWAYS_TAKEN = 4
"""A replica with fewer answers than this takes one more, whatever the mean: so small a batch is no load worth a reload."""


def in_order(replicas: Sequence[R], engine_name: str) -> list[R]:
    """Rendezvous hashing (Thaler and Ravishankar 1998): every adapter has its own order of all replicas.

    The same in every process. A replica that leaves moves only its own adapters, each to the next in that adapter's order;
    one that joins takes an equal part from each.
    """

    def weight(replica: R) -> bytes:
        return blake2b(f"{engine_name}\0{replica.name}".encode(), digest_size=8).digest()

    return sorted(replicas, key=weight, reverse=True)


def bound(replicas: Sequence[R], load_bound: float) -> int:
    """Answers up to which each replica is given more: ceil(c (m + 1) / n) for m answers on n replicas, c at least 1.

    Consistent hashing with bounded loads, Mirrokni, Thorup and Zadimoghaddam 2016, arXiv 1608.01350.
    """
    answers = sum(replica.busy for replica in replicas) + 1
    return max(ALWAYS_TAKEN, math.ceil(max(1.0, load_bound) * answers / len(replicas)))


class Affinity:
    def __init__(self, knobs: PlacementKnobs) -> None:
        self._load_bound = knobs.load_bound

    def choose(self, replicas: Sequence[R], wanted: Wanted) -> R:
        """The first in the adapter's order whose load is below the bound; there is one, as not all can exceed the mean."""
        replicas = offered(replicas)
        if not wanted.needs_adapter:
            return least_busy(replicas)
        most = bound(replicas, self._load_bound)
        return next(replica for replica in in_order(replicas, wanted.engine_name) if replica.busy < most)


class Replicate:
    def __init__(self, knobs: PlacementKnobs) -> None:
        self._hot_share = knobs.hot_share
        self._affinity = Affinity(knobs)

    def choose(self, replicas: Sequence[R], wanted: Wanted) -> R:
        """The least busy of the ceil(share / hot_share) first in the adapter's order; as `Affinity` where that is one."""
        replicas = offered(replicas)
        copies = math.ceil(wanted.share / self._hot_share) if self._hot_share > 0 else len(replicas)
        if copies <= 1 or not wanted.needs_adapter:
            return self._affinity.choose(replicas, wanted)
        return least_busy(in_order(replicas, wanted.engine_name)[:copies])
