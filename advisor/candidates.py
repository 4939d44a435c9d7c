"""The methods an advice ranks, and which of them apply to a task at all. Knows no rule and no cost.

Each is a draft: the method of `graft tune` it is made with, and the knobs that make it what it is. Few shots come as two
candidates, because they are two things to serve: the same rows before every question, or the nearest to each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from advisor.evidence import Found, Value, text


@dataclass(frozen=True, slots=True)
class Candidate:
    method: str
    """As `graft tune --method` has it."""
    knobs: Mapping[str, Value] = field(default_factory=dict)
    """Of the recipe, where the candidate is more than its method's defaults."""


CANDIDATES: dict[str, Candidate] = {
    "zero_shot": Candidate("zero_shot"),
    "few_shot": Candidate("few_shot", {"selector": "balanced", "shots": 8}),
    "knn_few_shot": Candidate("few_shot", {"selector": "knn", "shots": 8}),
    "many_shot": Candidate("many_shot"),
    "rag": Candidate("rag"),
    "head": Candidate("head"),
    "prompt_tuning": Candidate("prompt_tuning"),
    "lora": Candidate("lora"),
    "full": Candidate("full"),
    "continued_pretraining": Candidate("continued_pretraining"),
    "rag+lora": Candidate("rag+lora"),
}
METHODS = tuple(CANDIDATES)
"""Cheapest first, as far as an order can be given; ties in a ranking are settled by it."""

SHOWING = ("few_shot", "knn_few_shot", "many_shot")
"""Those that put rows into the prompt."""
TRAINED = ("head", "prompt_tuning", "lora", "full", "continued_pretraining", "rag+lora")
SUPERVISED = ("head", "prompt_tuning", "lora", "full", "rag+lora")
"""Those that learn from rows; continued pretraining learns from raw text."""
INTO_WEIGHTS = ("prompt_tuning", "lora", "full", "continued_pretraining")
"""Those that would have to keep facts in what they train; a head gives labels, and rag+lora learns to read passages."""


def applicable(found: Found) -> tuple[str, ...]:
    """All methods, but a head only where the answer is a label, or may be one."""
    labels = text(found, "task_type") in (None, "classification")
    return tuple(method for method in METHODS if method != "head" or labels)
