"""The methods an advice ranks, and which of them apply to a task at all. Knows no rule and no cost."""

from __future__ import annotations

from advisor.evidence import Found, text

METHODS = (
    "zero_shot", "few_shot", "many_shot", "rag", "head", "prompt_tuning", "lora", "full", "continued_pretraining", "rag+lora",
)  # fmt: skip
"""Cheapest first, as far as an order can be given; ties in a ranking are settled by it."""

TRAINED = ("head", "prompt_tuning", "lora", "full", "continued_pretraining", "rag+lora")
SUPERVISED = ("head", "prompt_tuning", "lora", "full", "rag+lora")
"""Those that learn from rows; continued pretraining learns from raw text."""


def applicable(found: Found) -> tuple[str, ...]:
    """All methods, but a head only where the answer is a label, or may be one."""
    labels = text(found, "task_type") in (None, "classification")
    return tuple(method for method in METHODS if method != "head" or labels)
