"""What a rule is: evidence in; votes, bars, warnings or remarks out, each with a reason that quotes it. Knows no rule.

A vote's points move what is expected of a method before it is measured: a point is `logits_per_point` (priors/published.json)
of its score's logit. A bar is final, whatever speaks for the method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from advisor.evidence import Found
from advisor.reason import Reason, because


@dataclass(frozen=True, slots=True)
class Vote:
    method: str
    points: float
    reason: Reason


@dataclass(frozen=True, slots=True)
class Remark:
    """Of interest, and no reason for or against."""

    method: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Bar:
    """The method must not be advised here, or cannot be carried out."""

    method: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Risk:
    """The method may be advised, and this may go wrong."""

    method: str
    reason: Reason


Rule = Callable[[Found], list[Vote]]
"""Pure: the same evidence gives the same votes. Silent (an empty list) where its evidence is missing."""
Never = Callable[[Found], list[Bar]]
Warns = Callable[[Found], list[Risk]]
Remarks = Callable[[Found], list[Remark]]


def votes(reason: Reason, **points: float) -> list[Vote]:
    """One reason that moves several methods; `rag_lora` stands for rag+lora, which is no Python name."""
    return [Vote(method.replace("rag_lora", "rag+lora"), value, reason) for method, value in points.items()]


def bars(found: Found, methods: Iterable[str], says: str, *also: str) -> list[Bar]:
    reason = because(found, says, *also)
    return [Bar(method, reason) for method in methods]


def risks(found: Found, methods: Iterable[str], says: str, *also: str) -> list[Risk]:
    reason = because(found, says, *also)
    return [Risk(method, reason) for method in methods]


def bounded(value: float, low: float, high: float) -> float:
    return min(high, max(low, value))
