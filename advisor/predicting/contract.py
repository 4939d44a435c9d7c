"""What is foretold of a method: a score of the task's own metric as a distribution. Knows no method and no evidence.

Scores are bent onto the whole line by the logit, where spreads are alike and effects add up; distributions there are normal.
Standard library only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

CLIP = 0.01
"""Scores nearer to 0 or 1 than this are taken for this: on a few hundred rows they cannot be told apart."""
TELLING = 0.02
"""Scores nearer to each other than this are the same to a few hundred rows: four of two hundred."""
NORMAL_90 = 1.645
"""Half the width of a normal's 90 % interval, in its spread."""


@dataclass(frozen=True, slots=True)
class Normal:
    """Of a score's logit."""

    mean: float
    variance: float

    def times(self, other: Normal) -> Normal:
        """What both say together, each weighed by its precision; they are taken to be independent."""
        total = 1 / self.variance + 1 / other.variance
        return Normal((self.mean / self.variance + other.mean / other.variance) / total, 1 / total)


@dataclass(frozen=True, slots=True)
class Predicted:
    method: str
    centre: float
    """Logit of the score."""
    sd: float
    """Of the logit."""
    shared: float
    """Share of the variance that all methods have in common: how hard the task is."""
    reach: float
    """Half the width of the 90 % interval, in `sd`: 1.645 for a normal, more where errors had longer tails."""
    how: str

    @property
    def mean(self) -> float:
        """Expected score, 0 to 1 (MacKay, 1992: a logistic of a normal is near a logistic of its shrunken mean)."""
        return sigmoid(self.centre / math.sqrt(1 + math.pi * self.sd * self.sd / 8))

    @property
    def interval(self) -> tuple[float, float]:
        """90 %, of the score on held-out rows; wider at both ends by what a few hundred rows cannot tell."""
        half = self.reach * self.sd
        return max(0.0, sigmoid(self.centre - half) - TELLING), min(1.0, sigmoid(self.centre + half) + TELLING)


def logit(score: float) -> float:
    held = min(1 - CLIP, max(CLIP, score))
    return math.log(held / (1 - held))


def sigmoid(value: float) -> float:
    if value < -40:  # as far as exp reaches without an overflow, and further than any score
        return 0.0
    return 1 / (1 + math.exp(-value))
