"""What may go wrong with a method that may be advised: each a rule that warns, with the evidence for it."""

from __future__ import annotations

from advisor.candidates import INTO_WEIGHTS, METHODS, SHOWING, SUPERVISED
from advisor.evidence import Found, number, text
from advisor.rules.contract import Risk, risks

NARROW = 0.9
"""Of the memory there is: formulas are right within a tenth."""


def narrow(found: Found) -> list[Risk]:
    """Formulas of memory are within 10 % of what runs took (`python -m tests.bench memory`)."""
    have = number(found, "gpu_gib")
    made = []
    for method in METHODS:
        needs = number(found, f"memory_gib.{method}")
        if have is not None and needs is not None and NARROW * have < needs <= have:
            says = f"fits narrowly: {{memory_gib.{method}:.1f}} GiB of {{gpu_gib:.1f}}; a run measures first"
            made += risks(found, [method], says)
    return made


def contradictions(found: Found) -> list[Risk]:
    """Labels that contradict each other are learned as they are, and bound every score (Northcutt et al. 2021)."""
    if (number(found, "contradicting_share") or 0.0) < 0.02:
        return []
    return risks(found, (*SUPERVISED, *SHOWING), "{contradicting_share:.0%} of the prompts have more than one answer")


def leakage(found: Found) -> list[Risk]:
    """Rows that stand on both sides make a learned method look better than it is."""
    if not number(found, "leakage_share"):
        return []
    return risks(found, SUPERVISED, "{leakage_share:.0%} of the rows set aside are among those learned from")


def rare_labels(found: Found) -> list[Risk]:
    """Below 8 rows a label, scores vary by 2 to 12 points from one draw to the next (SetFit's published results)."""
    fewest = number(found, "fewest_per_class")
    if fewest is None or fewest >= 8:
        return []
    return risks(found, SUPERVISED, "rows of the rarest label: {fewest_per_class:,.0f}")


def unknown_facts(found: Found) -> list[Risk]:
    """Trained on facts it did not know, a model answered 12 points worse over all (37.5 to 25.8; Gekhman et al. 2024)."""
    share = number(found, "unknown_share")
    if share is None or share < 0.3 or text(found, "task_type") == "classification":
        return []
    says = "{unknown_share:.0%} of the answers are not known to the base: training on them teaches guessing"
    return risks(found, INTO_WEIGHTS, says)


def missed_passages(found: Found) -> list[Risk]:
    """What retrieval does not find, no reader can read."""
    oracle, retrieved = number(found, "oracle_score"), number(found, "retrieved_score")
    if oracle is None or retrieved is None or oracle - retrieved < 0.1:
        return []
    return risks(
        found, ["rag", "rag+lora"], "{oracle_score:.2f} with the right passage, {retrieved_score:.2f} with those found"
    )


def small_reader(found: Found) -> list[Risk]:
    """What examples in a prompt add grows with the base (Brown et al. 2020, fig. 1.2), and is little below a billion."""
    size = number(found, "params_b")
    if size is None or size >= 1:
        return []
    return risks(found, (*SHOWING, "rag"), "a base of {params_b:.3g} billion parameters makes little of what a prompt shows")


def forgetting(found: Found) -> list[Risk]:
    """Where a run measured it, it is told; elsewhere it is only weighed (`utility.FORGETTING`)."""
    made = []
    for method in INTO_WEIGHTS:
        if number(found, f"forgetting_nats.{method}") is not None:
            says = f"forgot {{forgetting_nats.{method}:.2f}} nats a token of what the base said"
            made += risks(found, [method], says)
    return made
