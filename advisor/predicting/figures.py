"""The figures that everything is foretold from, as they stand in `advisor/priors`: read once, checked, frozen.

`published.json` is made of published results, `outcomes.json` of measured ones (`python -m tests.bench advisor_fit` writes
both). Standard library only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

PRIORS = Path(__file__).parent.parent / "priors"


@dataclass(frozen=True, slots=True)
class Level:
    """Typical scores of one kind of task, by published results."""

    prompted: float
    tuned: float


@dataclass(frozen=True, slots=True)
class Published:
    levels: dict[str, Level]
    """By kind of task; "" for a kind that is not known."""
    start: dict[str, float]
    """Points of each method before any rule has spoken."""
    logits_per_point: float
    """What a point of a rule's vote moves a score's logit by."""
    spread: float
    """Of a method's logit round what the rules make of it, with all decisive numbers known."""
    unknown_spread: float
    """That each decisive number adds which is not known."""
    sources: dict[str, str]


@dataclass(frozen=True, slots=True)
class Arm:
    """Second moments of one method's logits with the features, over cells (a task, rows, a seed), within families.

    From them follows the best linear forecast by any part of the features, and its spread.
    """

    features: tuple[str, ...]
    family_z: dict[str, float]
    """Mean logit of each family."""
    family_x: dict[str, tuple[float, ...]]
    """Mean features of each family."""
    family_tasks: dict[str, int]
    """Tasks of each family that the figures were made from; where there are none, the mean is that of the others."""
    xx: tuple[tuple[float, ...], ...]
    """Covariance of the features; the ridge is in its diagonal."""
    xz: tuple[float, ...]
    """Of the features with the logit."""
    zz: float
    """Variance of the logit."""
    noise: tuple[float, ...]
    """Of each feature, as it was when the figures were made: what is measured on fewer rows now weighs less."""
    inflation: float
    """By how much the squared error on tasks left out exceeds that on the tasks learned from."""
    tasks: int
    cells: int


@dataclass(frozen=True, slots=True)
class Off:
    """What the rules expected of a method less what came, in logits, over tasks that they were not made from."""

    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class Outcomes:
    made_from: str
    arms: dict[str, Arm]
    shared: float
    """Share of the error's variance that the methods of a task have in common."""
    reach: float
    """Half the width of a 90 % interval in its spread."""
    drift: float
    """Spread, in logits, of a score on held-out rows round one that was measured on rows at hand, sampling aside."""
    temperature: float
    """Probabilities of being best are raised to 1 / temperature: above 1, they were too sure of themselves."""
    optimism: dict[str, float] = field(default_factory=dict)
    """By method, logits by which its measurement on rows at hand is above what it scores on others, which are less like
    them."""
    rules: dict[str, Off] = field(default_factory=dict)
    """By method, where there are outcomes: how far to believe the rules beside a regression."""


@lru_cache(maxsize=1)
def published() -> Published:
    raw = json.loads((PRIORS / "published.json").read_text())
    return Published(
        levels={kind: Level(one["prompted"], one["tuned"]) for kind, one in raw["levels"].items()},
        **{name: raw[name] for name in ("start", "logits_per_point", "spread", "unknown_spread", "sources")},
    )


SMALL_B = 0.5
"""Billions of parameters up to which a base is foretold from outcomes of small ones: those get next to nothing out of examples
in a prompt, and published results are of 2 to 7 billion."""


def is_small(params_b: float | None) -> bool:
    """Whether a base is; where its size is not known, it is not."""
    return params_b is not None and params_b <= SMALL_B


@lru_cache(maxsize=2)
def outcomes(*, small: bool = False) -> Outcomes:
    """Of bases of about this size."""
    return outcomes_from(json.loads((PRIORS / ("outcomes.small.json" if small else "outcomes.json")).read_text()))


def outcomes_from(raw: dict[str, Any]) -> Outcomes:
    return Outcomes(
        arms={name: _arm(one) for name, one in raw["arms"].items()},
        optimism=raw.get("optimism", {}),
        rules={name: Off(**one) for name, one in raw.get("rules", {}).items()},
        **{name: raw[name] for name in ("made_from", "shared", "reach", "drift", "temperature")},
    )


def _arm(raw: dict[str, Any]) -> Arm:
    return Arm(
        features=tuple(raw["features"]), family_z=raw["family_z"], family_tasks=raw["family_tasks"],
        family_x={family: tuple(values) for family, values in raw["family_x"].items()},
        xx=tuple(tuple(row) for row in raw["xx"]), xz=tuple(raw["xz"]), noise=tuple(raw["noise"]),
        **{name: raw[name] for name in ("zz", "inflation", "tasks", "cells")},
    )  # fmt: skip
