"""What was measured of a method itself: its score on rows at hand, and what it makes of what was expected on others.

Knows which evidence speaks of which method. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from advisor.evidence import Evidence, Found, number
from advisor.predicting.contract import Normal, logit, sigmoid
from advisor.predicting.features import STATED_N

SPEAKING: Mapping[str, tuple[str, ...]] = {
    "zero_shot": ("base_score", "zero_shot_score", "zero_shot_choices_score"),
    "few_shot": ("few_shot_score",),
    "knn_few_shot": ("knn_shot_score",),
    "head": ("linear_probe_cv_score",),
    "rag": ("retrieved_score",),
}
"""Evidence that is a method's own score; of several the best, as the better of them is what one would use. Besides, what a
comparison found of any method stands under `score.<method>`."""
OWN_FEATURE: Mapping[str, str] = {"zero_shot": "zero", "few_shot": "shots", "knn_few_shot": "nearest", "head": "probe"}
"""The feature that is the same measurement, and must not be counted twice: a method's regression goes without it."""
CHANGES_WITH_ROWS = ("knn_few_shot", "head")
PLAYED = "score."
STEPS, LONGEST_STEP = 40, 2.0
"""Of Newton's method, in logits; the function has one summit, and a handful of steps reach it."""


def measured(method: str, found: Found) -> Evidence | None:
    """The evidence that speaks of this method, or None."""
    played = found.get(PLAYED + method)
    if played is not None and played.value is not None:
        return played
    known = [found[name] for name in SPEAKING.get(method, ()) if number(found, name) is not None]
    return max(known, key=lambda one: float(one.value or 0.0), default=None)


@dataclass(frozen=True, slots=True)
class Scored:
    """What a measurement says of a method's logit: so many hits of so many rows, whose logit is above it by `optimism` and
    strays round it by `drift`."""

    hits: float
    n: float
    """Rows; more than were asked where their scores are not all or nothing and so vary less, up to four times as many."""
    drift: float
    optimism: float


def scored(score: Evidence, drift: float, optimism: float) -> Scored:
    """What was played by name was asked rows that nobody had seen: its score strays and flatters no more than chance does."""
    n, value = float(score.n or STATED_N), min(1.0, max(0.0, float(score.value or 0.0)))
    if score.interval is not None and 0 < value < 1:
        spread = (score.interval[1] - score.interval[0]) / 3.92
        n = min(4 * n, max(n, value * (1 - value) / spread**2)) if spread > 0 else n
    is_played = score.name.startswith(PLAYED)
    return Scored(value * n, n, 0.0 if is_played else drift, 0.0 if is_played else optimism)


def after(expected: Normal, score: Scored) -> Normal:
    """What is expected of the logit once the score is known: a normal round the likeliest value, as curved as the binomial
    likelihood is there (Laplace). A normal in the logit of the score itself would take twelve of twelve for next to nothing."""
    a, b = expected.mean + score.optimism, expected.variance + score.drift**2
    z = a
    for _ in range(STEPS):
        p = sigmoid(z)
        step = (score.hits - score.n * p - (z - a) / b) / (score.n * p * (1 - p) + 1 / b)
        z += max(-LONGEST_STEP, min(LONGEST_STEP, step))
        if abs(step) < 1e-4:
            break
    p = sigmoid(z)
    variance = 1 / (score.n * p * (1 - p) + 1 / b)
    gain = expected.variance / b
    return Normal(expected.mean + gain * (z - a), expected.variance * (1 - gain) + gain * gain * variance)


def counted_logit(score: Evidence) -> float:
    """Half a hit and half a miss are added to what was counted, so that none of a few is not taken for never."""
    n, value = score.n or 0, float(score.value or 0.0)
    return logit((value * n + 0.5) / (n + 1) if n else value)
