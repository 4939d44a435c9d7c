"""Who won a bake-off: every arm asked the same rows, compared in pairs, with what it costs. Knows no model.

No clear winner is a verdict too: then the cheapest of those that the rows cannot tell from the best is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.errors import InvalidInput
from adapters.evaluation.scorecard import Mean, mean_of, paired

ALPHA = 0.05
DRAWS = 20_000


@dataclass(frozen=True, slots=True)
class Played:
    """One arm's answers on the frozen rows."""

    values: tuple[float, ...]
    """How good each answer was, 0 to 1; the same rows in the same order for every arm."""
    cost: float
    """Of answering, in any one unit; the lower the better."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The leader against another arm."""

    arm: str
    difference: Mean
    """The leader's score less the arm's; 95 %."""
    p: float
    """Of a difference as large or larger by chance, two-sided."""
    p_holm: float
    """The same, with every comparison of this verdict counted (Holm, 1979)."""

    @property
    def is_clear(self) -> bool:
        return self.p_holm < ALPHA


@dataclass(frozen=True, slots=True)
class Verdict:
    winner: str
    leader: str
    """That scored best; the winner, unless that one is as good and cheaper."""
    is_clear: bool
    """No other arm is as good as the leader for all that the rows can tell."""
    scores: Mapping[str, Mean]
    comparisons: tuple[Comparison, ...]
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {
            "winner": self.winner, "leader": self.leader, "clear": self.is_clear, "reason": self.reason,
            "scores": {arm: mean.to_json() for arm, mean in self.scores.items()},
            "comparisons": [
                {"arm": one.arm, "difference": one.difference.to_json(), "p": one.p, "p_holm": one.p_holm}
                for one in self.comparisons
            ],
        }  # fmt: skip


def verdict(arms: Mapping[str, Played], *, seed: int = 0) -> Verdict:
    """Raises InvalidInput unless there are arms, all asked the same number of rows, at least one."""
    lengths = {len(played.values) for played in arms.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise InvalidInput("a verdict needs arms that were all asked the same rows, at least one", param="arms")
    n = lengths.pop()
    scores = {name: mean_of(played.values, seed) for name, played in arms.items()}
    leader = max(arms, key=lambda name: (scores[name].mean, -arms[name].cost))
    others = [name for name in arms if name != leader]
    chances = [chance(arms[leader].values, arms[name].values, seed) for name in others]
    comparisons = tuple(
        Comparison(name, _difference(arms[leader].values, arms[name].values, seed), p, together)
        for name, p, together in zip(others, chances, holm(chances), strict=True)
    )
    as_good = [one for one in comparisons if not one.is_clear]
    winner = min([leader, *(one.arm for one in as_good)], key=lambda name: (arms[name].cost, -scores[name].mean))
    return Verdict(winner, leader, not as_good, scores, comparisons, _reason(winner, leader, as_good, n, arms))


def chance(ours: Sequence[float], theirs: Sequence[float], seed: int = 0) -> float:
    """Two-sided p of a paired difference: exact McNemar where answers are right or wrong (McNemar, 1947; binomial on the
    rows that only one of the two got right), else a seeded sign-flip test of the mean difference (Fisher, 1935)."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True) if a != b]
    if not differences:
        return 1.0
    if all(abs(one) == 1 for one in differences):
        return mcnemar(sum(one > 0 for one in differences), len(differences))
    import numpy as np

    values = np.asarray(differences)
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(DRAWS, len(values)))
    as_far = int((np.abs(signs @ values) >= abs(values.sum()) - 1e-12).sum())
    return (as_far + 1) / (DRAWS + 1)


def mcnemar(ours: int, both: int) -> float:
    """Of `both` rows that only one of two arms got right, one got `ours`: the exact two-sided binomial p at a half."""
    fewer = min(ours, both - ours)
    tail = sum(math.comb(both, k) for k in range(fewer + 1)) / 2**both
    return float(min(1.0, 2 * tail))


def holm(chances: Sequence[float]) -> list[float]:
    """Adjusted for their number, in the order given (Holm, 1979): the k-th smallest times how many are left, never falling."""
    ordered = sorted(range(len(chances)), key=lambda index: chances[index])
    adjusted, highest = [0.0] * len(chances), 0.0
    for rank, index in enumerate(ordered):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[index]))
        adjusted[index] = highest
    return adjusted


def rows_needed(difference: float, discordant: float, *, power: float = 0.8) -> int:
    """Rows with which McNemar's test tells arms that differ by `difference` (in share right), where a share `discordant` of
    the rows is right in only one of them; at 5 %, two-sided (Connor, 1987, Biometrics 43:207)."""
    if not 0 < difference <= discordant <= 1:
        raise InvalidInput("the difference must be above 0 and not above the share of rows that differ", param="difference")
    from statistics import NormalDist

    normal = NormalDist()
    reach = normal.inv_cdf(1 - ALPHA / 2) * math.sqrt(discordant)
    reach += normal.inv_cdf(power) * math.sqrt(discordant - difference**2)
    return math.ceil((reach / difference) ** 2)


def _difference(ours: Sequence[float], theirs: Sequence[float], seed: int) -> Mean:
    return paired([a - b for a, b in zip(ours, theirs, strict=True)], [1] * len(ours), seed)


def _reason(winner: str, leader: str, as_good: Sequence[Comparison], n: int, arms: Mapping[str, Played]) -> str:
    if len(arms) == 1:
        return "it was the only one"
    if not as_good:
        return f"{leader} is better than every other, by {n} rows"
    if winner == leader:
        return f"no clear winner by {n} rows: {leader} scored best, and none of those that may be as good is cheaper"
    seen = next(one for one in as_good if one.arm == winner)
    more = _more_rows(arms[leader].values, arms[winner].values)
    return (
        f"no clear winner by {n} rows: {winner} is the cheapest of those that may be as good as {leader} "
        f"(which scored {seen.difference.mean:.3f} more, p = {seen.p_holm:.2f}){more}"
    )


def _more_rows(ours: Sequence[float], theirs: Sequence[float]) -> str:
    n = len(ours)
    difference = (sum(ours) - sum(theirs)) / n
    discordant = sum(a != b for a, b in zip(ours, theirs, strict=True)) / n
    if not 0 < difference <= discordant:
        return ""
    return f"; about {rows_needed(difference, discordant):,} rows would tell"
