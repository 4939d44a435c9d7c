"""Who chooses a method: the advisor, and what it has to beat. Each gives an order, of which the first that was played counts.

A chooser may look at the case's evidence, never at its scores; of other tasks' cases at everything.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from advisor import ranking
from advisor.evidence import number
from advisor.predicting.features import family
from advisor.predicting.figures import Outcomes, published
from tests.bench.proof.cases import Case

Chooser = Callable[[Case, Sequence[Case], str], list[str]]
"""(case, cases of the other tasks, profile): methods, the wanted ones first."""

FEW, MANY = 50, 10_000
"""Rows below which vendors say to prompt, and above which some say to tune whole."""
GOOD = 0.8


def always(method: str) -> Chooser:
    return lambda case, others, profile: [method, "few_shot"]


def by_size(case: Case, others: Sequence[Case], profile: str) -> list[str]:
    """Fewer than 50 rows: shots. To 10,000: LoRA. Above: all weights."""
    n = case.setting.n
    return ["few_shot"] if n < FEW else ["full" if n > MANY else "lora", "few_shot"]


def vendor_tree(case: Case, others: Sequence[Case], profile: str) -> list[str]:
    """Facts are missing: retrieve. The prompt is good enough: stop. Few rows: shots. Else tune."""
    if number(case.found, "corpus_tokens"):
        return ["rag", "few_shot"]
    if (number(case.found, "base_score") or 0.0) >= GOOD:
        return ["zero_shot"]
    return by_size(case, others, profile)


def by_kind(case: Case, others: Sequence[Case], profile: str) -> list[str]:
    """What was worth most on average on the other tasks with answers of this kind."""
    kind = family(case.found)
    return _by_mean([one for one in others if family(one.found) == kind] or list(others), profile)


def by_kind_and_size(case: Case, others: Sequence[Case], profile: str) -> list[str]:
    """As `by_kind`, of settings with as many rows: all that can be learned without measuring."""
    same = [one for one in others if one.setting.n == case.setting.n]
    return by_kind(case, same or others, profile)


def _by_mean(others: Sequence[Case], profile: str) -> list[str]:
    worth: dict[str, list[float]] = defaultdict(list)
    for one in others:
        for method in one.methods:
            worth[method].append(one.worth(method, profile) - statistics.fmean(one.worth(m, profile) for m in one.methods))
    return sorted(worth, key=lambda method: -statistics.fmean(worth[method]))


BASELINES: dict[str, Chooser] = {
    "always LoRA": always("lora"),
    "always few-shot": always("few_shot"),
    "always nearest shots": always("knn_few_shot"),
    "always head": always("head"),
    "size only": by_size,
    "vendor tree": vendor_tree,
    "majority by kind": by_kind,
    "majority by kind and size": by_kind_and_size,
}


def advised(figures: Mapping[str, Outcomes] | None) -> Chooser:
    """The advisor at depth 2. `figures`: by task that was left out of them; None: those it ships with."""

    def order(case: Case, others: Sequence[Case], profile: str) -> list[str]:
        return list(decided(case, profile, figures).order)

    return order


def decided(case: Case, profile: str, figures: Mapping[str, Outcomes] | None) -> ranking.Decision:
    made = None if figures is None else ranking.Figures(published(), figures[case.task])
    return ranking.decide(case.found, profile, made)


def first_of(order: Sequence[str], methods: Iterable[str]) -> str:
    """Raises LookupError for an order that names none of the methods."""
    among = set(methods)
    for method in order:
        if method in among:
            return method
    raise LookupError(f"none of {', '.join(order)} is among {', '.join(sorted(among))}")
