"""What each method would score with fewer and with more rows: the decision made again at other numbers of them.

Nothing is said beyond eight times the rows there are (`curves.py` tells why). Knows no chart.
"""

from __future__ import annotations

from dataclasses import dataclass

from advisor import ranking
from advisor.advice import Advice
from advisor.curves import FARTHEST
from advisor.evidence import number
from advisor.sensitivity import moved

FEWEST_ROWS = 4


@dataclass(frozen=True, slots=True)
class Foretold:
    rows: int
    score: float
    interval: tuple[float, float]
    """90 %."""


def by_rows(advice: Advice) -> dict[str, list[Foretold]]:
    """For every method, from an eighth of the rows to eight times as many, doubling; empty where their number is not known."""
    rows = number(advice.measured, "n_examples")
    if not rows:
        return {}
    doublings = round(FARTHEST).bit_length() - 1
    counts = sorted({max(FEWEST_ROWS, round(rows * 2.0**power)) for power in range(-doublings, doublings + 1)})
    made: dict[str, list[Foretold]] = {one.method: [] for one in advice.ranking}
    now = advice.decision
    for count in counts:
        whole = ranking.complete(moved(advice.measured, "n_examples", count), advice.facts)
        then = ranking.decide(whole, now.profile, now.figures, now)
        for method, predicted in then.predicted.items():
            made[method].append(Foretold(count, predicted.mean, predicted.interval))
    return made
