"""What would change an advice: the decision is made again with one number moved, and the value at which it turns is searched.

Outward from the present value, stop by stop, then between the last stop that changes nothing and the first that does. Knows
the table of moves and no rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from adapters.bases import BaseFacts
from adapters.tuning.shapes import typical_shape
from advisor import ranking
from advisor.evidence import STATED, Evidence, Found, Value, number, text
from advisor.ranking import Decision

GUESSES = 4
NEAR = 0.08
"""Values nearer to each other than this share are not told apart."""


@dataclass(frozen=True, slots=True)
class Move:
    stops: tuple[Value, ...]
    """Tried outward from the present value; all of them where it is not known."""
    say: Callable[[float], str]
    costs: bool = False
    """Whether memory, time or prompts follow from it."""
    drops: tuple[str, ...] = ()
    """Evidence that says the same of the present, and does not hold where it is moved."""


MOVES: dict[str, Move] = {
    "n_examples": Move(
        (1, 10, 100, 1000, 10_000, 1_000_000), lambda v: f"with {v:,.0f} rows", costs=True
    ),
    "knowledge_changes": Move((False, True), lambda v: f"if the facts {'change' if v else 'do not change'} while it is in use"),
    "needs_new_knowledge": Move((0.0, 0.25, 0.5, 1.0), lambda v: f"if {v:.0%} of the answers need facts the base cannot know"),
    "answers_in_documents": Move((0.0, 0.3, 0.6, 0.9), lambda v: f"with documents that hold {v:.0%} of the answers"),
    "base_score": Move(
        (0.05, 0.35, 0.65, 0.95), lambda v: f"if the base, only prompted, scores {v:.2f}",
        drops=("zero_shot_score", "zero_shot_choices_score", "score.zero_shot"),
    ),
    "domain_shift": Move((0.0, 0.33, 0.67, 1.0), lambda v: f"at a domain shift of {v:.2f}"),
    "params_b": Move((0.135, 1.0, 8.0, 70.0), lambda v: f"on a base of {v:g} billion parameters", costs=True),
    "gpu_gib": Move((2.0, 8.0, 24.0, 80.0, 640.0), lambda v: f"with {v:g} GiB of memory", costs=True),
    "latency_budget_ms": Move((10_000.0, 1000.0, 100.0, 20.0), lambda v: f"if an answer must start within {v:g} ms"),
    "corpus_tokens": Move(
        (100_000, 10_000_000, 1_000_000_000, 10_000_000_000), lambda v: f"with {v:,.0f} tokens of documents or raw text"
    ),
    "queries_per_day": Move((1e3, 1e6, 1e8), lambda v: f"with {v:,.0f} requests a day"),
    "tenants": Move((10, 100, 1000), lambda v: f"for {v:,.0f} adapted models beside each other"),
}  # fmt: skip
SHARES = ("needs_new_knowledge", "answers_in_documents", "base_score", "domain_shift")
"""Searched by their difference; all others by their ratio."""


@dataclass(frozen=True, slots=True)
class Change:
    name: str
    present: float | None
    value: float
    """The nearest that turns the advice, rounded away from the present."""
    method: str
    says: str


def would_change_if(decision: Decision, found: Found, facts: BaseFacts | None) -> list[Change]:
    """One for each number and direction in which the recommendation turns. `found` is what `decision` was completed from."""
    if decision.fits[decision.method] is False:
        return _what_would_fit(decision)
    made = []
    for name, move in MOVES.items():
        if name == "answers_in_documents" and text(found, "task_type") == "classification":
            continue
        asking = _Asking(decision, found, facts, name)
        for before, stops in _outward(asking, move.stops, number(found, name)):
            change = _first(asking, before, stops)
            if change is not None:
                made.append(change)
    return made


def _what_would_fit(decision: Decision) -> list[Change]:
    needs = number(decision.found, f"memory_gib.{decision.method}")
    if needs is None:
        return []
    says = f"with {needs:,.1f} GiB of memory: {decision.method} would fit; nothing fits now"
    return [Change("gpu_gib", number(decision.found, "gpu_gib"), needs, decision.method, says)]


class _Answer(NamedTuple):
    method: str
    """What would be recommended."""
    lead: float | None
    """By how much what is recommended now leads: below 0 where it does not, None where it is out of the question."""
    fits: bool
    """Or nothing does, and it is the smallest."""


@dataclass(slots=True)
class _Asking:
    decision: Decision
    found: Found
    facts: BaseFacts | None
    name: str
    answers: dict[Value, _Answer] = field(default_factory=dict)

    def at(self, value: Value) -> _Answer:
        if value not in self.answers:
            move = MOVES[self.name]
            facts = typical_shape(float(value)) if self.name == "params_b" else self.facts
            if move.costs:
                whole: Found = ranking.complete(moved(self.found, self.name, value), facts)
                other = None
            else:
                whole = moved(self.decision.found, self.name, value)
                other = frozenset((self.name, "answers_by_chance", *move.drops))
            then = ranking.decide(whole, self.decision.profile, self.decision.given, self.decision, other)
            self.answers[value] = _Answer(then.method, self._lead(then), then.fits[then.method] is not False)
        return self.answers[value]

    def _lead(self, then: Decision) -> float | None:
        now, eligible = self.decision.method, then.eligible()
        if now not in eligible or len(eligible) < 2:
            return None
        return then.utility(now) - max(then.utility(one) for one in eligible if one != now)


def _first(asking: _Asking, before: float | None, stops: list[Value]) -> Change | None:
    """The first stop that turns the advice, or the value between it and the stop before at which that happens."""
    name, present = asking.name, number(asking.found, asking.name)
    for value in stops:
        then = asking.at(value)
        if then.method != asking.decision.method:
            found = float(value)
            if before is not None and not isinstance(value, bool):
                found, then = _searched(asking, before, found)
            instead = "" if present is None or isinstance(value, bool) else f" instead of {_plain(name, present)}"
            says = then.method if then.fits else "nothing fits"
            return Change(name, present, found, then.method, f"{MOVES[name].say(found)}{instead}: {says}")
        before = float(value)
    return None


def _searched(asking: _Asking, same: float, turned: float) -> tuple[float, _Answer]:
    """The nearest value found that turns the advice, and to what: where the lead would be gone if it fell evenly, and on."""
    now = asking.decision.method
    for _ in range(GUESSES):
        if abs(turned - same) <= NEAR * max(abs(turned), abs(same)):
            break
        lead, lag = asking.at(_whole(asking.name, same)).lead, asking.at(_whole(asking.name, turned)).lead
        part = 0.5
        if lead is not None and lag is not None and lead > lag:
            part = min(5 / 6, max(1 / 6, lead / (lead - lag)))  # the ends are left by a sixth, so that both close in
        by_ratio = asking.name not in SHARES and same > 0 and turned > 0
        guess = same * (turned / same) ** part if by_ratio else same + part * (turned - same)
        if asking.at(_whole(asking.name, guess)).method == now:
            same = guess
        else:
            turned = guess
    rounded = _rounded(turned, up=turned > same)
    for value in (rounded, float(_whole(asking.name, turned))):
        then = asking.at(_whole(asking.name, value))
        if then.method != now:
            break
    return value, then


def _rounded(value: float, *, up: bool) -> float:
    """To two digits, away from what changes nothing."""
    if value <= 0:
        return value
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round((math.ceil if up else math.floor)(round(value / unit, 6)) * unit, 10)


def _whole(name: str, value: float) -> Value:
    return round(value) if name in ("n_examples", "corpus_tokens", "tenants") else value


def _outward(asking: _Asking, stops: tuple[Value, ...], present: float | None) -> Iterator[tuple[float | None, list[Value]]]:
    """Where to begin, and the stops from there down, and up. Where the present value is not known, from the middle of those
    that change nothing; where all change something, all of them."""
    ordered = sorted(stops, key=float)
    if present is None:
        same = [value for value in ordered if asking.at(value).method == asking.decision.method]
        if not same:
            yield None, ordered
            return
        present = float(same[len(same) // 2])
    yield present, [value for value in reversed(ordered) if float(value) < present]
    yield present, [value for value in ordered if float(value) > present]


def moved(found: Found, name: str, value: Value) -> dict[str, Evidence]:
    """The evidence with one number another, and what goes with it."""
    whole = dict(found)
    for same in MOVES[name].drops:
        whole.pop(same, None)
    there = found.get(name)
    if there is None:
        whole[name] = Evidence(name, value, "", STATED)
    else:  # how it was got tells a GPU's memory from a processor's
        whole[name] = replace(there, value=value, interval=None)
    if name == "n_examples":
        _scale_rows(whole, found, float(value))
    if name == "answers_in_documents" and "answers_by_chance" not in whole:
        whole["answers_by_chance"] = Evidence("answers_by_chance", 0.0, "share", STATED)
    return whole


def _scale_rows(moved: dict[str, Evidence], found: Found, value: float) -> None:
    """What is counted of the rows goes with them; scores were measured on as many as there are."""
    rows = number(found, "n_examples")
    if not rows:
        return
    for name in ("examples_per_class", "fewest_per_class", "usable_rows", "dataset_tokens"):
        counted = number(found, name)
        if counted is not None:
            moved[name] = replace(found[name], value=round(counted * value / rows, 2))
    moved["rows_measured_on"] = Evidence("rows_measured_on", rows, "rows", "those there are")


def _plain(name: str, value: float) -> str:
    if name in ("needs_new_knowledge", "answers_in_documents"):
        return f"{value:.0%}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
