"""What was measured of a method itself: its score on rows at hand, as a distribution of its score on others.

Knows which evidence speaks of which method. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping

from advisor.evidence import Evidence, Found, number
from advisor.predicting.contract import Normal, logit
from advisor.predicting.features import logit_noise

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


def measured(method: str, found: Found) -> Evidence | None:
    """The evidence that speaks of this method, or None."""
    played = found.get(f"score.{method}")
    if played is not None and played.value is not None:
        return played
    known = [found[name] for name in SPEAKING.get(method, ()) if number(found, name) is not None]
    return max(known, key=lambda one: float(one.value or 0.0), default=None)


def posterior(score: Evidence, drift: float, optimism: float = 0.0) -> Normal:
    """Of the logit of the score on held-out rows, from the measurement alone: `drift` is its spread beside sampling, `optimism`
    by how much it is usually too high. Half a hit and half a miss are added to what was counted, so that none of a few is not
    taken for never."""
    n = score.n or 0
    value = float(score.value or 0.0)
    held = (value * n + 0.5) / (n + 1) if n else value
    return Normal(logit(held) - optimism, logit_noise(score) + drift * drift)
