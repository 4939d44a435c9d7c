"""How documents are best cut and searched: how often a passage that answers the question is among the first.

Needs no model that answers. Of candidates that chance could have put in another order the cheapest is taken: the one that
shows fewest tokens. Knows neither how passages are shown nor what is made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapters.evaluation.scorecard import Mean, paired, wilson
from adapters.methods.retrieving.cuts import Cut, Key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of BM25 beside meaning."""
DEPTHS = (1, 3, 5)
LOST_SHARE = 0.02
"""Of the passages that answer, those that the least score may silence."""


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    answer: str
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Ranked:
    """What one way of cutting and searching finds for every question."""

    cut: Cut
    lexical_weight: float
    first: list[int | None]
    """By question, the rank of the first passage that answers it, counted from 1; None: not among the first DEPTHS[-1]."""
    scores: list[float]
    """By question, the score of that passage; 0 where there is none."""
    tokens: float
    """Of as many passages as DEPTHS[1], on average."""

    def hits(self, depth: int) -> list[float]:
        return [float(rank is not None and rank <= depth) for rank in self.first]

    @property
    def values(self) -> list[float]:
        """By question, the mean of recall at each of the depths: 1 where it is found first, 0 where it is not found."""
        by_depth = [self.hits(depth) for depth in DEPTHS]
        return [sum(hits) / len(DEPTHS) for hits in zip(*by_depth, strict=True)]

    @property
    def value(self) -> float:
        return sum(self.values) / len(self.values)


def ranked(cut: Cut, gold: Sequence[Sequence[Key]], questions: Sequence[Question], lexical_weight: float) -> Ranked:
    first, scores, tokens = list[int | None](), list[float](), 0
    for question, right in zip(questions, gold, strict=True):
        found = cut.search(question.text, question.vector, lexical_weight, DEPTHS[-1])
        keys = [(one.file, one.number) for one in found]
        rank = next((rank for rank, key in enumerate(keys, start=1) if key in right), None)
        first.append(rank)
        scores.append(found[rank - 1].score if rank else 0.0)
        tokens += sum(cut.pieces[cut.numbers[key]].tokens for key in keys[: DEPTHS[1]])
    return Ranked(cut, lexical_weight, first, scores, tokens / len(questions))


def choose(candidates: Sequence[Ranked], seed: int) -> tuple[Ranked, list[dict[str, Any]]]:
    """The one that shows fewest tokens of those that are not clearly worse than the best; and all with what they reached.

    Not clearly worse: the 95 % interval of the difference to the best (paired bootstrap) holds 0. All weights of one size
    cost the same; of those the best is taken, and of equal ones the most even.
    """
    best = max(candidates, key=lambda one: (one.value, -one.tokens))
    differences = [_difference(one.values, best.values, seed) for one in candidates]
    tied = [one for one, to_best in zip(candidates, differences, strict=True) if to_best.interval[1] >= 0]
    chosen = min(tied, key=lambda one: (_price(one, candidates), -one.value, abs(one.lexical_weight - 0.5)))
    return chosen, [
        {
            "max_tokens": one.cut.chunking.max_tokens, "lexical_weight": one.lexical_weight,
            "recall": {str(depth): share(one.hits(depth)) for depth in DEPTHS},
            "difference": to_best.to_json(), "tokens_shown": round(one.tokens, 1), "chosen": one is chosen,
        }
        for one, to_best in zip(candidates, differences, strict=True)
    ]  # fmt: skip


def said(tried: Ranked) -> dict[str, Any]:
    """For a run's events."""
    recall = {f"recall_at_{depth}": round(sum(tried.hits(depth)) / len(tried.first), 4) for depth in DEPTHS}
    return {"max_tokens": tried.cut.chunking.max_tokens, "lexical_weight": tried.lexical_weight} | recall


def enough(chosen: Ranked, depths: Sequence[int], seed: int) -> int:
    """The fewest passages that find as much as the most do, as far as can be told from so many questions; without any
    question, the fewest."""
    if not chosen.first:
        return depths[0]
    most = chosen.hits(depths[-1])
    return next(depth for depth in depths if _difference(chosen.hits(depth), most, seed).interval[1] >= 0)


def least_score(chosen: Ranked, passages: int, others: Sequence[float]) -> tuple[float, float]:
    """(the least score that a passage is shown with, the highest it could be). The highest silences LOST_SHARE of the
    passages that answer among so many; where that is above all `others`, the best scores for questions about something else,
    halfway between is enough, and leaves room for those who ask in other words than the rows do."""
    reached = sorted(score for score, hit in zip(chosen.scores, chosen.hits(passages), strict=True) if hit)
    if not reached:
        return 0.0, 0.0
    highest = reached[int(LOST_SHARE * len(reached))]
    return _down(min(highest, (highest + max(others)) / 2)), _down(highest)


def _down(score: float) -> float:
    """A short number that is not above it."""
    return int(score * 1000) / 1000


def share(hits: Sequence[float]) -> dict[str, Any]:
    mean = Mean(sum(hits) / len(hits), wilson(sum(hits), len(hits)))
    return mean.to_json() | {"n": len(hits)}


def _difference(values: Sequence[float], best: Sequence[float], seed: int) -> Mean:
    return paired([one - other for one, other in zip(values, best, strict=True)], [1] * len(best), seed)


def _price(one: Ranked, candidates: Sequence[Ranked]) -> float:
    of_size = [other.tokens for other in candidates if other.cut is one.cut]
    return sum(of_size) / len(of_size)
