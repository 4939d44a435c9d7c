"""Learning curves: what a method will score with more rows, from what it scored with fewer, and how far that can be trusted.

Tuning follows a power law, examples in a prompt saturate; each is fitted with its own form, and no further than eight times
the rows there are. Intervals are the errors that the same forecasts made on published curves. Knows no method's code.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

FARTHEST = 8.0
"""Beyond, errors of published curves grow past what a decision can be made on (pow3: .028 at 8 times, .097 at 32)."""
FEWEST_POINTS = 3
"""Numbers of rows that a form of three parameters can be fitted to."""
ERRORS = Path(__file__).with_name("priors") / "curves.json"


@dataclass(frozen=True, slots=True)
class Point:
    rows: float
    score: float
    """0 to 1."""
    weight: float = 1.0
    """Of it in the fit: runs, or answers, that it is the mean of."""


@dataclass(frozen=True, slots=True)
class Forecast:
    rows: float
    score: float
    interval: tuple[float, float]
    """90 %."""
    times: float
    """How many times the most rows that were seen."""


def _pow3(rows: NDArray[Any], parameters: NDArray[Any]) -> NDArray[Any]:
    """a - b n^-c (Mohr and van Rijn, 2022, arXiv 2201.12150; best of 9 forms on sample-size curves in LCDB)."""
    top, reach, rate = parameters
    found: NDArray[Any] = top - reach * rows**-rate
    return found


def _hill(rows: NDArray[Any], parameters: NDArray[Any]) -> NDArray[Any]:
    """a n^d / (b + n^d): rises and saturates, as examples in a prompt do."""
    top, half, steepness = parameters
    raised = rows**steepness
    found: NDArray[Any] = top * raised / (half + raised)
    return found


@dataclass(frozen=True, slots=True)
class Form:
    of: Callable[[Any, Any], Any]
    starts: tuple[tuple[float, float, float], ...]
    low: tuple[float, float, float]
    high: tuple[float, float, float]


FORMS: dict[str, Form] = {
    "tuning": Form(_pow3, ((0.9, 1.0, 0.5), (0.6, 0.6, 0.2), (0.98, 3.0, 1.0)), (0.0, 0.0, 0.01), (1.0, 50.0, 3.0)),
    "in_context": Form(_hill, ((0.9, 5.0, 0.8), (0.6, 1.0, 0.4), (0.95, 50.0, 1.2)), (0.0, 1e-6, 0.05), (1.0, 1e6, 3.0)),
}
"""By how a method learns."""
FAMILY = {
    "few_shot": "in_context", "few_shot_knn": "in_context", "many_shot": "in_context", "head": "tuning", "lora": "tuning",
    "full": "tuning", "prompt_tuning": "tuning", "rag+lora": "tuning",
}  # fmt: skip


def forecast(method: str, points: Sequence[Point], rows: float) -> Forecast:
    """What `method` will score with so many rows.

    Least squares with a soft bound on outliers, from several starts. Raises InvalidInput for fewer than three numbers of
    rows, for more than eight times the most of them, and for a method that no rows teach.
    """
    if method not in FAMILY:
        raise InvalidInput(f"'{method}' does not learn from rows; it has no learning curve", param="method")
    seen = sorted(points, key=lambda point: point.rows)
    if len({point.rows for point in seen}) < FEWEST_POINTS:
        raise InvalidInput(f"a learning curve needs scores at {FEWEST_POINTS} numbers of rows, not {len(seen)}", param="points")
    times = rows / seen[-1].rows
    if times > FARTHEST:
        raise InvalidInput(
            f"{rows:,.0f} rows are {times:.0f} times the {seen[-1].rows:,.0f} seen; nothing is said beyond {FARTHEST:.0f}",
            param="rows",
        )
    family = FAMILY[method]
    parameters = fitted(FORMS[family], seen)
    score = bounded(float(FORMS[family].of(_array([rows]), parameters)[0]))
    reach = error(family, max(1.0, times))
    return Forecast(rows, score, (bounded(score - reach), bounded(score + reach)), times)


def error(family: str, times: float) -> float:
    """The 90 % quantile of this forecast's absolute error on published curves, at so many times the rows; linear in between."""
    known = _errors()[family]
    places = sorted(known)
    if times <= places[0]:
        return known[places[0]]
    if times >= places[-1]:
        return known[places[-1]]
    above = bisect_left(places, times)
    low, high = places[above - 1], places[above]
    share = (times - low) / (high - low)
    return known[low] + share * (known[high] - known[low])


@cache
def _errors() -> dict[str, dict[float, float]]:
    raw = json.loads(ERRORS.read_bytes())["quantile_90"]
    return {family: {float(times): value for times, value in by_times.items()} for family, by_times in raw.items()}


def fitted(form: Form, seen: Sequence[Point]) -> NDArray[Any]:
    import numpy as np
    from scipy.optimize import least_squares

    rows, scores = _array([point.rows for point in seen]), _array([point.score for point in seen])
    weights = np.sqrt(_array([point.weight for point in seen]))
    weights = weights / weights.max()

    def residuals(parameters: NDArray[Any]) -> NDArray[Any]:
        missed: NDArray[Any] = (form.of(rows, parameters) - scores) * weights
        return missed

    tries = (
        least_squares(residuals, start, bounds=(form.low, form.high), loss="soft_l1", f_scale=0.05) for start in form.starts
    )
    found: NDArray[Any] = min(tries, key=lambda tried: float(tried.cost)).x
    return found


def _array(values: Sequence[float]) -> NDArray[Any]:
    import numpy as np

    return np.asarray(values, dtype=np.float64)


def bounded(score: float) -> float:
    return min(1.0, max(0.0, score))
