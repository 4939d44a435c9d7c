"""The best linear forecast of a method's logit by whichever features are known: a ridge regression, its signs held.

    w = argmin  w' S w / 2 - w' s   with  w_j >= 0 where the feature may only raise, <= 0 where it may only lower
    forecast = mean of the family + w' (x - mean features of the family)
    spread^2 = (variance of z - 2 w' s + w' S w) * inflation + FAMILY_SPREAD^2 / (1 + tasks of the family)

S, s: covariances of the known features with each other and with the logit z (Arm), the noise of the measurements at hand in
S's diagonal. What is not known is simply not in S: its share of the variance stays in the spread. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from advisor.predicting.contract import Normal
from advisor.predicting.features import FEATURES, Seen
from advisor.predicting.figures import Arm

SWEEPS = 60
"""Of coordinate descent; nine features are settled to a thousandth in twenty."""
SMALLEST_SPREAD = 0.1
FAMILY_SPREAD = 1.0
"""Of families' levels round each other, in logits: LoRA Land's, of labels and of long answers, are 1.7 apart."""

Weights = tuple[float, ...]


def forecast(arm: Arm, seen: Mapping[str, Seen], family: str) -> Normal:
    """Of the method's logit; a method's own measurement is no feature of its arm."""
    used = tuple(place for place, name in enumerate(arm.features) if name in seen)
    noise = tuple(round(max(0.0, seen[arm.features[place]].noise - arm.noise[place]), 2) for place in used)
    weights, variance = _weights(_Key(arm), used, noise)
    middle = arm.family_x[family]
    moved = sum(w * (seen[arm.features[place]].value - middle[place]) for w, place in zip(weights, used, strict=True))
    unseen = FAMILY_SPREAD**2 / (1 + arm.family_tasks[family])
    return Normal(arm.family_z[family] + moved, max(SMALLEST_SPREAD**2, variance * arm.inflation + unseen))


def pull(arm: Arm, seen: Mapping[str, Seen], name: str) -> float:
    """Logits that one unit more of a feature adds, with those that are known held."""
    used = tuple(place for place, feature in enumerate(arm.features) if feature in seen)
    if name not in seen or name not in arm.features:
        return 0.0
    weights, _ = _weights(_Key(arm), used, (0.0,) * len(used))
    return weights[used.index(arm.features.index(name))]


class _Key:
    """An arm as a key: itself, not its many numbers."""

    __slots__ = ("arm",)

    def __init__(self, arm: Arm) -> None:
        self.arm = arm

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.arm is self.arm

    def __hash__(self) -> int:
        return id(self.arm)


@lru_cache(maxsize=512)
def _weights(key: _Key, used: tuple[int, ...], noise: tuple[float, ...]) -> tuple[Weights, float]:
    """Depends on what is known and how well, not on the values, so a question asked a hundred times is solved once."""
    arm = key.arm
    s = [[arm.xx[i][j] + (noise[a] if i == j else 0.0) for j in used] for a, i in enumerate(used)]
    target = [arm.xz[i] for i in used]
    signs = [FEATURES[arm.features[i]].sign for i in used]
    weights = [0.0] * len(used)
    for _ in range(SWEEPS):
        for a, row in enumerate(s):
            rest = target[a] - sum(row[b] * weights[b] for b in range(len(used)) if b != a)
            wanted = rest / row[a] if row[a] > 0 else 0.0
            weights[a] = max(0.0, wanted) if signs[a] > 0 else min(0.0, wanted) if signs[a] < 0 else wanted
    explained = sum(w * (2 * t - sum(r * v for r, v in zip(row, weights, strict=True)))
                    for w, t, row in zip(weights, target, s, strict=True))  # fmt: skip
    return tuple(weights), max(0.0, arm.zz - explained)
