"""How good answers are, by what a task says it is measured in. Knows no model and no file."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from adapters.evaluation.metrics import METRICS, primary

ORDERS = range(1, 7)
BETA = 2


def chrf(answer: str, wanted: str) -> float:
    """chrF of one sentence: F-beta, beta 2, of precision and recall averaged over character n-grams of 1 to 6, without spaces
    (Popović, 2015, W15-3049). Orders that one of the texts is too short for do not count, as in sacreBLEU."""
    said, right = (unicodedata.normalize("NFC", "".join(text.split())) for text in (answer, wanted))
    shares = [_shared(said, right, order) for order in ORDERS if order <= min(len(said), len(right))]
    if not shares:
        return float(said == right)
    precision, recall = (sum(side) / len(shares) for side in zip(*shares, strict=True))
    weight = BETA**2
    return (1 + weight) * precision * recall / (weight * precision + recall) if precision and recall else 0.0


def _shared(said: str, right: str, order: int) -> tuple[float, float]:
    """Which share of the first's n-grams the second has, and the other way round, counted with repetition."""
    first, second = (Counter(text[at : at + order] for at in range(len(text) - order + 1)) for text in (said, right))
    both = (first & second).total()
    return both / first.total(), both / second.total()


RATES: dict[str, Callable[[str, str], float]] = {**METRICS, "chrf": chrf}

BY_WORD: dict[str, str] = {
    "accuracy": "exact_match",
    "exact": "exact_match",
    "field": "exact_match",
    "rouge-l": "token_f1",
    "chosen-vs-rejected": "token_f1",
    "chrf": "chrf",
}
"""By the first word of what a task says it is measured in: what decides. Of preferences it is how near the answer comes to the
chosen one."""


def deciding(said: str, wanted: Sequence[str]) -> str:
    """The metric, a word of RATES; where the task's word is not known, by how long the right answers are."""
    first = said.split()[0].rstrip(";,").partition("/")[0].casefold() if said.strip() else ""
    return BY_WORD.get(first) or primary(wanted)
