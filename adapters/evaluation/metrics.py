"""How good one answer is, from 0 to 1: one row a metric. Knows no model."""

from __future__ import annotations

import statistics
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

SHORT_ANSWER_WORDS = 8


def exact_match(answer: str, wanted: str) -> float:
    """1 when both say the same, letter case and spacing aside."""
    return float(_normal(answer) == _normal(wanted))


def token_f1(answer: str, wanted: str) -> float:
    """Harmonic mean of precision and recall over words, counted with repetition (Rajpurkar et al., 2016, arXiv 1606.05250)."""
    said, right = _normal(answer).split(), _normal(wanted).split()
    shared = (Counter(said) & Counter(right)).total()
    return 2 * shared / (len(said) + len(right)) if shared else 0.0


METRICS: dict[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "token_f1": token_f1,
}


def primary(wanted: Sequence[str]) -> str:
    """The metric that decides: exact match where the median answer has at most 8 words, else token F1."""
    return "exact_match" if statistics.median(len(answer.split()) for answer in wanted) <= SHORT_ANSWER_WORDS else "token_f1"


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
