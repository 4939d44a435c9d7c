"""One measured or stated number with its size of sample, its interval and how it was got.

Rules read nothing else, and the report prints nothing else, so advice without evidence cannot be written.
Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Value = float | int | bool | str

STATED = "stated by the caller"
"""The `how` of a number that was given, not found."""


@dataclass(frozen=True, slots=True)
class Evidence:
    name: str
    value: Value | None
    """None: asked for and not known, which an advice says too."""
    unit: str
    how: str
    """One sentence: measured on what, stated by the caller, or the formula with its source."""
    n: int | None = None
    """How many rows, texts or draws it rests on; None for a stated or computed number."""
    interval: tuple[float, float] | None = None
    """95 %, where it is an estimate from a sample."""


Found = Mapping[str, Evidence]
"""Everything known about one question, by name."""


def by_name(found: Iterable[Evidence]) -> dict[str, Evidence]:
    """Later evidence of the same name replaces earlier."""
    return {evidence.name: evidence for evidence in found}


def number(found: Found, name: str) -> float | None:
    """The value as a number (True is 1.0), or None where it is not known."""
    evidence = found.get(name)
    if evidence is None:
        return None
    value = evidence.value
    return None if value is None or isinstance(value, str) else float(value)


def text(found: Found, name: str) -> str | None:
    evidence = found.get(name)
    return None if evidence is None or evidence.value is None else str(evidence.value)


def share(name: str, hits: int, n: int, how: str) -> Evidence:
    """`hits` of `n` as a share with its Wilson interval; `n` is above 0."""
    return Evidence(name, round(hits / n, 4), "share", how, n, wilson(hits, n))


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share (E. B. Wilson 1927), 95 % by default; holds for small `n` and for 0 hits."""
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)
