"""From evidence to a ranking: rules vote and bar, scores are foretold, costs are taken off, and the most useful comes first.

    utility = expected score - burden (utility.py)        score shown = utility, 0 to 1; 0 for what is barred or does not fit
    confidence = probability of being worth most (predicting/best.py), halved where the first does not fit either

Knows no data and no wording.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from adapters.bases import BaseFacts
from advisor import utility
from advisor.candidates import METHODS, applicable
from advisor.cost import costs
from advisor.evidence import Evidence, Found, by_name, number
from advisor.predicting import best, predict
from advisor.predicting.contract import Predicted
from advisor.predicting.features import family
from advisor.predicting.figures import Outcomes, Published, is_small, outcomes, published
from advisor.predicting.typical import Typical, typical
from advisor.reason import Reason, because
from advisor.rules.applying import Applied, applied, changed
from advisor.rules.contract import Bar, Never, Rule, Vote
from advisor.rules.table import NEVER, REMARKS, RISKS, RULES

METRIC = {"labels": "exact_match", "short": "exact_match", "long": "token_f1"}
"""By the family of answers, as `adapters.evaluation.metrics.primary` decides."""


DECIDING: dict[str, Rule | Never] = {**RULES, **{f"never {name}": never for name, never in NEVER.items()}}


@dataclass(frozen=True, slots=True)
class Figures:
    """What everything is foretold from; a proof puts its own in their place."""

    published: Published = field(default_factory=published)
    outcomes: Outcomes = field(default_factory=outcomes)


@lru_cache(maxsize=2)
def shipped(*, small: bool) -> Figures:
    """The same object each time, so that a decision can be taken over from one before."""
    return Figures(outcomes=outcomes(small=small))


@dataclass(frozen=True, slots=True)
class Decision:
    """All that a choice rests on, cheap enough to be made a hundred times with a number moved."""

    found: Found
    """Complete."""
    profile: str
    points: Mapping[str, float]
    """Of each method, before and by the rules."""
    known: Applied
    """What the measurements say of scores, and which of them."""
    weighed: Mapping[str, Applied]
    """The burden of each method, and what it was read from."""
    usual: Typical
    predicted: Mapping[str, Predicted]
    worth: Mapping[str, float]
    """Expected score less burden."""
    asked: Mapping[str, Applied]
    """What each rule said, and what it looked at."""
    barred: Mapping[str, list[Bar]]
    fits: Mapping[str, bool | None]
    """None: the base or the memory is not known."""
    order: tuple[str, ...]
    """Methods, the most useful first, then the barred, then those that do not fit, of which the smallest comes first."""
    figures: Figures
    given: Figures | None
    """The figures that were asked for; None: those that are shipped for bases of that size."""

    @property
    def method(self) -> str:
        return self.order[0]

    @property
    def cast(self) -> Mapping[str, list[Vote]]:
        """By method."""
        cast: dict[str, list[Vote]] = defaultdict(list)
        for name in RULES:
            for vote in self.asked[name].said:
                cast[vote.method].append(vote)
        return dict(cast)

    @property
    def burdens(self) -> Mapping[str, float]:
        return {method: one.said for method, one in self.weighed.items()}

    def utility(self, method: str) -> float:
        return self.worth[method]

    def eligible(self) -> list[str]:
        return [one for one in self.order if self.fits[one] is not False and one not in self.barred]


@dataclass(frozen=True, slots=True)
class Ranked:
    method: str
    score: float
    """Expected utility, 0 to 1; 0 where the method is barred or does not fit."""
    quality: Predicted
    metric: str
    """What the quality is a score of."""
    p_best: float
    barred: bool
    fits: bool | None
    memory_gib: float | None
    because: tuple[Reason, ...]
    """The weightiest first."""
    risky: tuple[Reason, ...]
    cost: Mapping[str, float]
    """What is known of it by number: `train_seconds`, `prompt_tokens`, `added_ms` and their like."""

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(map(str, self.because))

    @property
    def risks(self) -> tuple[str, ...]:
        return tuple(map(str, self.risky))


def complete(found: Found, facts: BaseFacts | None) -> dict[str, Evidence]:
    """The evidence and what follows from it: rows a label, the base's size and window, what each method costs."""
    whole = known(found, facts)
    return whole | by_name(costs(whole, facts))


def known(found: Found, facts: BaseFacts | None) -> dict[str, Evidence]:
    """As `complete`, without the costs."""
    whole = dict(found)
    rows, classes = number(found, "n_examples"), number(found, "n_classes")
    if "examples_per_class" not in whole and rows is not None and classes:
        whole["examples_per_class"] = Evidence("examples_per_class", round(rows / classes, 2), "rows", "n_examples / n_classes")
    if "params_b" not in whole and facts is not None:
        whole["params_b"] = Evidence(
            "params_b", round(facts.params_b, 4), "billions", "counted in the base's safetensors headers"
        )
    if facts is not None and facts.vocab and "typical shape" not in facts.digest:
        whole["context_tokens"] = Evidence("context_tokens", facts.context, "tokens", "max_position_embeddings of the base")
    return whole


def decide(
    found: Found, profile: str = utility.DEFAULT, figures: Figures | None = None, before: Decision | None = None,
    other: frozenset[str] | None = None,
) -> Decision:  # fmt: skip
    """`found` is complete; `before`: a decision on the same but for the `other` names, or for whichever do differ. What rests
    on none of them is taken over. Raises InvalidInput for an unknown profile."""
    given, figures = figures, figures or shipped(small=is_small(number(found, "params_b")))
    methods = applicable(found)
    last = before if before is not None and before.figures is figures and tuple(before.points) == methods else None
    moved = frozenset() if last is None else other or changed(found, last.found)
    asked = applied(DECIDING, found, None if last is None else last.asked, moved)
    if last is not None and all(asked[name] is one for name, one in last.asked.items()):
        points, barred = last.points, last.barred
    else:
        points, barred = _points(asked, methods, figures.published.start), _barred(asked)
    known = _known(found, methods, figures, last, moved)
    weighed = _weighed(found, methods, profile, last, moved)
    usual = last.usual if last is not None and _says_as_much(found, last.found, moved) else typical(found, figures.published)
    if last is not None and known is last.known and usual == last.usual:
        predicted = predict.with_points(known.said, points, usual, last.predicted, last.points)
    else:
        predicted = predict.with_points(known.said, points, usual)
    is_as_large = last is not None and not any(name.startswith(("gpu_gib", "memory_gib")) for name in moved)
    fits = last.fits if last is not None and is_as_large else {one: _fits(one, found) for one in methods}
    worth = {one: predicted[one].mean - weighed[one].said for one in methods}

    def place(method: str) -> tuple[bool, bool, float, int]:
        gib = number(found, f"memory_gib.{method}") if fits[method] is False else None
        first = -worth[method] if gib is None else gib
        return fits[method] is False, method in barred, first, METHODS.index(method)

    order = tuple(sorted(methods, key=place))
    return Decision(found, profile, points, known, weighed, usual, predicted, worth, asked, barred, fits, order, figures, given)


def _points(asked: Mapping[str, Applied], methods: Sequence[str], start: Mapping[str, float]) -> dict[str, float]:
    """What each method starts with and the votes of all rules, in their order."""
    points = {method: start[method] for method in methods}
    for name in RULES:
        for vote in asked[name].said:
            if vote.method in points:
                points[vote.method] += vote.points
    return points


def _barred(asked: Mapping[str, Applied]) -> dict[str, list[Bar]]:
    barred: dict[str, list[Bar]] = defaultdict(list)
    for name in NEVER:
        for bar in asked[f"never {name}"].said:
            barred[bar.method].append(bar)
    return dict(barred)


def _says_as_much(found: Found, before: Found, moved: frozenset[str]) -> bool:
    """Whether the same is known and not known, of the same kind of task; what to expect rests on no more."""
    return "task_type" not in moved and all((found.get(one) is None) == (before.get(one) is None) for one in moved)


def _known(found: Found, methods: tuple[str, ...], figures: Figures, last: Decision | None, moved: frozenset[str]) -> Applied:
    before = None if last is None else {"": last.known}
    return applied({"": lambda seen: predict.known(seen, methods, figures.outcomes)}, found, before, moved)[""]


def _weighed(
    found: Found, methods: tuple[str, ...], profile: str, last: Decision | None, moved: frozenset[str]
) -> dict[str, Applied]:
    table = {one: partial(utility.burden, one, profile=profile) for one in methods}
    return applied(table, found, last.weighed if last is not None and last.profile == profile else None, moved)


def rank(decision: Decision) -> list[Ranked]:
    """Every method that applies, once, best first; what is barred comes after the others, and last what does not fit."""
    chances = p_best(decision)
    said = {one.name: one for one in predict.evidence(decision.predicted)} | dict(decision.found)
    cast, warned, remarked = decision.cast, _by_method(RISKS, decision.found), _by_method(REMARKS, decision.found)
    made = []
    for method in decision.order:
        is_barred = method in decision.barred
        reasons = [bar.reason for bar in decision.barred.get(method, ())]
        for vote in sorted(cast.get(method, ()), key=lambda vote: -abs(vote.points)):
            reasons.append(vote.reason if vote.points >= 0 else vote.reason.against())
        reasons += remarked[method]
        reasons.append(because(said, f"foretold: {{quality.{method}:.2f}} of 1"))
        is_out = is_barred or decision.fits[method] is False
        worth = min(1.0, max(0.0, decision.utility(method)))
        made.append(
            Ranked(
                method=method,
                score=0.0 if is_out else round(worth, 4),
                quality=decision.predicted[method],
                metric=METRIC[family(decision.found)],
                p_best=chances[method],
                barred=is_barred,
                fits=decision.fits[method],
                memory_gib=number(decision.found, f"memory_gib.{method}"),
                because=tuple(reasons),
                risky=tuple(warned[method]),
                cost=_cost(method, decision.found),
            )
        )
    return made


def _by_method(table: Mapping[str, Any], found: Found) -> dict[str, list[Reason]]:
    made: dict[str, list[Reason]] = defaultdict(list)
    for rule in table.values():
        for one in rule(found):
            made[one.method].append(one.reason)
    return made


def p_best(decision: Decision) -> dict[str, float]:
    """By method, summing to 1; of what is barred or does not fit it is 0, unless that is all there is."""
    running = decision.eligible() or [one for one in decision.order if one not in decision.barred] or list(decision.order)
    predicted = {one: decision.predicted[one] for one in running}
    found = best.probabilities(predicted, decision.burdens, decision.figures.outcomes.temperature)
    return {method: round(found.get(method, 0.0), 4) for method in decision.order}


def confidence(ranked: list[Ranked]) -> float:
    """Above 0 and below 1; the formula stands at the top of this file."""
    chance = min(0.99, max(0.01, ranked[0].p_best))
    return round(chance / 2 if ranked[0].fits is False or ranked[0].barred else chance, 3)


def _fits(method: str, found: Found) -> bool | None:
    needs, have = number(found, f"memory_gib.{method}"), number(found, "gpu_gib")
    return None if needs is None or have is None else needs <= have


def _cost(method: str, found: Found) -> dict[str, Any]:
    mine = {name.removesuffix(f".{method}"): number(found, name) for name in found if name.endswith(f".{method}")}
    return {name: value for name, value in mine.items() if value is not None and name not in ("memory_gib", "score", "quality")}
