"""The rule about the size of the base, which decides what a prompt gets out of it."""

from __future__ import annotations

import math

from advisor.evidence import Found, number
from advisor.reason import because
from advisor.rules.contract import Vote, bounded, votes


def base_size(found: Found) -> list[Vote]:
    """Small bases get little out of examples in a prompt; soft prompts need about 10 billion parameters (Lester et al.
    2021); tuning with passages helped at 3 billion and hurt at 7 (Soudani et al. 2024)."""
    size = number(found, "params_b")
    if size is None:
        return []
    said = "a base of {params_b:.3g} billion parameters"
    if size < 1:
        reason = because(found, f"{said}: too small to learn much from a prompt")
        made = votes(reason, zero_shot=-0.8, few_shot=-0.8, knn_few_shot=-0.6, many_shot=-1.0, rag=-0.2)
    else:
        strong = bounded(0.4 * math.log10(size / 3), -0.3, 0.5)
        reason = because(found, f"{said} reads a prompt the better the larger it is")
        made = votes(reason, zero_shot=strong, few_shot=strong, knn_few_shot=strong, many_shot=strong)
    reason = because(found, f"{said}: passages and tuning together helped up to 3, not from 7")
    made += votes(reason, rag_lora=0.5 if size <= 3 else -0.3)
    soft = -2.5 if size < 1 else -1.5 if size < 10 else 0.8
    return made + votes(because(found, f"{said}: soft prompts come level from about 10"), prompt_tuning=soft)
