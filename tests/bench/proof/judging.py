"""How good choices were, and how honest what was said of them: regret, probabilities beside what came, intervals beside scores.

Every task weighs the same, however many settings it has. Knows no chooser.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advisor import ranking
from advisor.predicting import best
from tests.bench.proof.cases import Case

BINS = 5


@dataclass(frozen=True, slots=True)
class Choice:
    case: Case
    method: str
    profile: str

    @property
    def regret(self) -> float:
        return self.case.regret(self.method, self.profile)

    @property
    def is_level(self) -> bool:
        """Its score is within one standard error of the oracle's, on the rows they share."""
        return self.regret <= self.case.standard_error(self.method, self.profile) + 1e-9


def summed(choices: Sequence[Choice]) -> dict[str, float]:
    """Mean regret, its 90th percentile over settings, the share that is level with the oracle, and that is the oracle."""
    regrets = sorted(one.regret for one in choices)
    return {
        "regret": round(by_task(choices, lambda one: one.regret), 4),
        "p90": round(regrets[min(len(regrets) - 1, int(0.9 * len(regrets)))], 4),
        "level": round(by_task(choices, lambda one: float(one.is_level)), 3),
        "best": round(by_task(choices, lambda one: float(one.method == one.case.oracle(one.profile))), 3),
    }


def by_task(choices: Iterable[Any], value: Callable[[Any], float]) -> float:
    values: dict[str, list[float]] = defaultdict(list)
    for one in choices:
        values[one.case.task].append(value(one))
    return statistics.fmean(statistics.fmean(some) for some in values.values())


@dataclass(frozen=True, slots=True)
class Said:
    """What the advisor said of a case before it was played: how likely each played method was to be worth most."""

    case: Case
    decision: ranking.Decision
    chances: Mapping[str, float]

    @property
    def winner(self) -> str:
        return self.case.oracle(self.decision.profile)


def said(case: Case, decision: ranking.Decision) -> Said:
    """Of the methods that were played, whether barred or not; what was thought not to apply had no chance."""
    known = [method for method in case.methods if method in decision.predicted]
    predicted, burdens = ({method: one[method] for method in known} for one in (decision.predicted, decision.burdens))
    chances = best.probabilities(predicted, burdens, decision.figures.outcomes.temperature)  # type: ignore[arg-type]
    return Said(case, decision, dict.fromkeys(case.methods, 0.0) | chances)


def brier(all_said: Sequence[Said]) -> dict[str, float]:
    """Sum of squares over methods, as Brier (1950) has it: 0 is certain and right, 2 certain and wrong. Beside it what equal
    chances for all would have scored."""

    def square(one: Said, chances: Mapping[str, float]) -> float:
        return sum((chances[method] - (method == one.winner)) ** 2 for method in chances)

    return {
        "brier": round(by_task(all_said, lambda one: square(one, one.chances)), 3),
        "of equal chances": round(
            by_task(all_said, lambda one: square(one, dict.fromkeys(one.chances, 1 / len(one.chances)))), 3
        ),
    }  # fmt: skip


def reliability(all_said: Sequence[Said]) -> list[dict[str, float]]:
    """Methods by how likely they were said to be best, beside how often they were."""
    pairs = sorted((chance, float(method == one.winner)) for one in all_said for method, chance in one.chances.items())
    made = []
    for low in range(BINS):
        some = [pair for pair in pairs if low / BINS <= pair[0] < (low + 1) / BINS or (low == BINS - 1 and pair[0] == 1)]
        if some:
            made.append({
                "from": low / BINS, "to": (low + 1) / BINS, "n": len(some),
                "said": round(statistics.fmean(pair[0] for pair in some), 3),
                "came": round(statistics.fmean(pair[1] for pair in some), 3),
            })  # fmt: skip
    return made


def coverage(all_said: Sequence[Said]) -> dict[str, float]:
    """Share of scores inside their 90 % intervals, and how wide those are."""
    spans = [(one.decision.predicted[method].interval, score) for one in all_said
             for method, score in one.case.setting.scores.items() if method in one.decision.predicted]  # fmt: skip
    return {
        "n": len(spans),
        "coverage": round(statistics.fmean(low <= score <= high for (low, high), score in spans), 3),
        "width": round(statistics.fmean(high - low for (low, high), _ in spans), 3),
    }
