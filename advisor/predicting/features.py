"""The handful of numbers that scores are foretold from, taken out of the evidence: one line each, and which way it may pull.

Standard library only; knows no method.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from adapters.evaluation.metrics import SHORT_ANSWER_WORDS
from advisor.evidence import Evidence, Found, number, text
from advisor.predicting.contract import logit

FAMILIES = ("labels", "short", "long")
"""Kinds of answers, told apart by length: what is learned of one helps the others, but each has its own level."""
STATED_N = 50
"""Rows that a score somebody only states is taken to rest on."""


@dataclass(frozen=True, slots=True)
class Seen:
    value: float
    noise: float
    """Variance of the value that comes from having looked at so few rows."""


@dataclass(frozen=True, slots=True)
class Feature:
    names: tuple[str, ...]
    """Of evidence; the first that is known counts."""
    bend: Callable[[float], float]
    sign: int
    """+1: more of it never lowers what is foretold; -1: never raises it; 0: either."""
    is_score: bool = False
    is_probe: bool = False
    """Got by asking the base or looking into the rows, not by counting: only with such a number is there a regression."""


def _log2(value: float) -> float:
    return math.log2(max(0.25, value))


FEATURES: dict[str, Feature] = {
    "zero": Feature(("base_score", "zero_shot_score", "zero_shot_choices_score"), logit, 1, is_score=True, is_probe=True),
    "shots": Feature(("few_shot_score",), logit, 1, is_score=True, is_probe=True),
    "nearest": Feature(("knn_shot_score",), logit, 1, is_score=True, is_probe=True),
    "probe": Feature(("linear_probe_cv_score", "knn_answer_score", "knn_cv_score"), logit, 1, is_score=True, is_probe=True),
    "rows": Feature(("usable_rows", "n_examples"), _log2, 1),
    "rows_per_class": Feature(("examples_per_class",), _log2, 1),
    "gap": Feature(("bits_per_byte_gap",), float, 0, is_probe=True),
    "nats": Feature(("answer_nats_few_shot", "answer_nats_zero_shot"), lambda nats: min(8.0, nats), -1, is_probe=True),
    "length": Feature(("answer_words",), lambda words: math.log2(1 + words), 0),
}


def seen(found: Found) -> dict[str, Seen]:
    """The features that are known, in the order of the table."""
    gap = _gap(found)
    made = {}
    for name, feature in FEATURES.items():
        known = gap if name == "gap" else next((found[one] for one in feature.names if number(found, one) is not None), None)
        if known is not None:
            made[name] = Seen(feature.bend(float(known.value or 0.0)), logit_noise(known) if feature.is_score else 0.0)
    return made


def family(found: Found) -> str:
    """By the answers' length where it is known, else by the kind of task."""
    kind, words = text(found, "task_type"), number(found, "answer_words")
    if kind == "classification":
        return "labels"
    if words is not None:
        return "short" if words <= SHORT_ANSWER_WORDS else "long"
    return "long" if kind in ("generation", "translation", "summarization", "style", "chat", "domain_lm", "code") else "short"


def logit_noise(score: Evidence) -> float:
    """Variance of a score's logit: from its 95 % interval, or as n hits and misses would have it, half of each added (a
    score of parts, such as F1, varies less)."""
    value = float(score.value or 0.0)
    n = score.n or STATED_N
    held = (value * n + 0.5) / (n + 1)
    counted = 1 / (n * held * (1 - held))
    if score.interval is None or score.interval[0] >= score.interval[1]:
        return counted
    low, high = score.interval
    return max(counted / 4, ((logit(high) - logit(low)) / 3.92) ** 2)


def _gap(found: Found) -> Evidence | None:
    ours, theirs = number(found, "bits_per_byte"), number(found, "bits_per_byte_reference")
    if ours is None or theirs is None:
        return None
    return Evidence("bits_per_byte_gap", round(ours - theirs, 4), "bits per byte", "bits_per_byte - bits_per_byte_reference")
