"""From evidence to a ranking: what follows from it is worked out, every rule votes, votes are summed.

    score = 1 / (1 + exp(-(sum of a method's votes)))
    confidence = 1 / (1 + exp(-(first's votes - second's))) * (0.5 + 0.5 * share of the decisive numbers that are known)

halved where the first does not fit either. Knows no data and no wording.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.bases import BaseFacts
from advisor.candidates import METHODS, applicable
from advisor.cost import costs
from advisor.evidence import Evidence, Found, by_name, number, text
from advisor.rules.contract import Vote
from advisor.rules.table import RULES


@dataclass(frozen=True, slots=True)
class Ranked:
    method: str
    score: float
    """0 to 1."""
    log_odds: float
    fits: bool | None
    """None: the base or the memory is not known."""
    memory_gib: float | None
    reasons: tuple[str, ...]
    """The weightiest first."""


DECISIVE: dict[str, tuple[str, ...]] = {
    "n_examples": ("n_examples",),
    "task_type": ("task_type",),
    "domain_shift": ("domain_shift",),
    "needs_new_knowledge": ("needs_new_knowledge", "answers_in_documents"),
    "knowledge_changes": ("knowledge_changes",),
    "params_b": ("params_b",),
}
"""The numbers an answer hangs on, and what stands for each."""


def complete(found: Found, facts: BaseFacts | None) -> dict[str, Evidence]:
    """The evidence and what follows from it: rows a label, the base's size and window, what each method costs."""
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
    return whole | by_name(costs(whole, facts))


def rank(found: Found) -> list[Ranked]:
    """Every method that applies, once, best first; what does not fit comes last. `found` is complete."""
    cast: dict[str, list[Vote]] = defaultdict(list)
    for rule in RULES.values():
        for vote in rule(found):
            cast[vote.method].append(vote)
    ranked = [_ranked(method, cast[method], found) for method in applicable(found)]
    return sorted(ranked, key=lambda one: (one.fits is False, -one.log_odds, METHODS.index(one.method)))


def judge(found: Found, facts: BaseFacts | None) -> list[Ranked]:
    return rank(complete(found, facts))


def confidence(ranked: Sequence[Ranked], found: Found) -> float:
    """Above 0 and below 1; the formula stands at the top of this file."""
    margin = ranked[0].log_odds - ranked[1].log_odds if ranked[0].fits == ranked[1].fits else 4.0
    share_known = 1 - len(missing(found)) / len(DECISIVE)
    value = _sigmoid(min(4.0, max(0.0, margin))) * (0.5 + 0.5 * share_known)
    return round(value / 2 if ranked[0].fits is False else value, 3)


def missing(found: Found) -> list[str]:
    """Names of the decisive numbers that nothing stands for."""
    known = {name for name in found if number(found, name) is not None or text(found, name) is not None}
    return [name for name, stand_ins in DECISIVE.items() if not known & set(stand_ins)]


def _ranked(method: str, cast: Sequence[Vote], found: Found) -> Ranked:
    odds = sum(vote.points for vote in cast)
    needs, have = number(found, f"memory_gib.{method}"), number(found, "gpu_gib")
    fits = None if needs is None or have is None else needs <= have
    reasons = tuple(vote.reason for vote in sorted(cast, key=lambda vote: -abs(vote.points)))
    return Ranked(method, round(_sigmoid(odds), 4), odds, fits, needs, reasons)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))
