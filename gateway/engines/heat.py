"""How much each name was asked for lately: counts that halve every so many seconds, without a timer.

Knows no engine; whoever sees requests calls `touch`.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable

_RESCALE_AT = 512
"""Half-lives after which the weights are brought back to small numbers; a float overflows after 1,023."""


class Heat:
    """Forward decay (Cormode, Shkapenyuk, Srivastava and Xu, ICDE 2009): a request of now weighs more than an earlier one.

    Old counts are never touched, so `touch` and `share` cost the same however many names there are. Of more than `most`
    names the coldest half is forgotten; their requests still count in the total.
    """

    def __init__(self, half_life_s: float = 60.0, most: int = 4096, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._half_life_s, self._most, self._clock = half_life_s, most, clock
        self._start = clock()
        self._weights: dict[str, float] = {}
        self._total = 0.0

    def __len__(self) -> int:
        return len(self._weights)

    def touch(self, name: str) -> None:
        """Counts one request."""
        weight = self._weight_of_now()
        self._total += weight
        self._weights[name] = self._weights.get(name, 0.0) + weight
        if len(self._weights) > self._most:
            self._weights = dict(heapq.nlargest(max(1, self._most // 2), self._weights.items(), key=lambda pair: pair[1]))

    def share(self, name: str) -> float:
        """0 to 1: the name's part of all recent requests."""
        return self._weights.get(name, 0.0) / self._total if self._total else 0.0

    def hottest(self, count: int) -> list[str]:
        """At most `count` names, the hottest first."""
        return [name for name, _ in heapq.nlargest(count, self._weights.items(), key=lambda pair: pair[1])]

    def _weight_of_now(self) -> float:
        half_lives = (self._clock() - self._start) / self._half_life_s
        if half_lives > _RESCALE_AT:
            scale = 2.0**-half_lives
            self._start = self._clock()
            self._total *= scale
            # what has come to nothing is nothing
            self._weights = {name: scaled for name, weight in self._weights.items() if (scaled := weight * scale)}
            half_lives = 0.0
        return float(2.0**half_lives)
