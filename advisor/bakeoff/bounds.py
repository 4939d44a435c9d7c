"""Between which ends an arm's score with all rows will lie, from what it scored with fewer; and how much a seed decides.

An early score alone says nothing of an arm that learns: it is bounded only where its curve can be drawn. Knows no plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from advisor.bakeoff.contract import Arm, Cell
from advisor.curves import FARTHEST, FEWEST_POINTS, FORMS, Form, Point, bounded, error, fitted

FEWEST_SIZES = 2
"""Of its own: with one, nobody knows whether it is slow or bad."""
SEED_NOISE, MOST_SEED_NOISE = 0.5, 0.08
"""Standard deviation of a score over seeds is about 0.5 / sqrt(rows): of heads on frozen features it was 0.064 with 64 rows
(tests/bench/outcome/smollm2.jsonl), of few-shot encoders 0.005 to 0.03 with 64 a class and 0.02 to 0.12 with 8 (the SetFit
project's result files)."""


@dataclass(frozen=True, slots=True)
class Bounds:
    low: float
    high: float


def bounds(arm: Arm, cells: Sequence[Cell], untaught: float | None, rows: int) -> Bounds | None:
    """95 % where the arm was played with all `rows`; else about 90 % by extrapolation, or None where it has no curve yet.

    `untaught` is what the base scores with no rows at all, a tuned model's score before its first row. The upper end is that
    of the fitted form or of the straight line through the last two sizes (score over the logarithm of rows), whichever is
    higher: a power law lies below that line, and curves that begin late, which a power law misses, lie near it.
    """
    seen = {cell.rows: cell for cell in sorted(cells, key=lambda cell: -cell.seed) if cell.values}
    if rows in seen:
        low, high = seen[rows].mean().interval
        return Bounds(low, high)
    sizes = sorted(seen)
    if len(sizes) < FEWEST_SIZES or not arm.learns or rows / sizes[-1] > FARTHEST:
        return None
    before, last = seen[sizes[-2]], seen[sizes[-1]]
    slope = (last.score - before.score) / math.log2(last.rows / before.rows)
    line = last.score + max(0.0, slope) * math.log2(rows / last.rows)
    guesses = [last.score, line]
    points = [Point(size, seen[size].score) for size in sizes]
    if arm.learns == "tuning" and untaught is not None:
        points.insert(0, Point(1, untaught))
    if len(points) >= FEWEST_POINTS:
        guesses.append(_fitted_at(FORMS[arm.learns], points, rows))
    low, high = last.mean().interval
    reach = math.hypot(error(arm.learns, rows / last.rows), (high - low) / 2)
    return Bounds(bounded(min(guesses) - reach), bounded(max(guesses) + reach))


def seed_noise(arm: Arm, rows: int) -> float:
    """Standard deviation of the arm's score over seeds, as far as it is known beforehand."""
    return min(MOST_SEED_NOISE, SEED_NOISE / math.sqrt(rows)) if arm.is_noisy else 0.0


def _fitted_at(form: Form, points: Sequence[Point], rows: int) -> float:
    import numpy as np

    return bounded(float(form.of(np.asarray([rows], dtype=np.float64), fitted(form, points))[0]))
