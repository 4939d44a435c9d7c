"""What a rule is: evidence in, votes for and against methods out. Knows no rule.

A vote's points are log-odds: 1 makes a method about 2.7 times as likely to be the one to try.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from advisor.evidence import Found

BARRED = -12.0
"""Must not be advised, whatever speaks for it; the sum of all other votes for a method stays below this."""


@dataclass(frozen=True, slots=True)
class Vote:
    method: str
    points: float
    reason: str
    """One clause with the numbers in it."""


Rule = Callable[[Found], list[Vote]]
"""Pure: the same evidence gives the same votes. Silent (an empty list) where its evidence is missing."""


def votes(reason: str, **points: float) -> list[Vote]:
    """One reason that moves several methods; `rag_lora` stands for rag+lora, which is no Python name."""
    return [Vote(method.replace("rag_lora", "rag+lora"), value, reason) for method, value in points.items()]


def bounded(value: float, low: float, high: float) -> float:
    return min(high, max(low, value))
