"""Rules about what the machine, the clock and the traffic allow."""

from __future__ import annotations

import math

from advisor.candidates import METHODS, SUPERVISED
from advisor.evidence import Found, number
from advisor.rules.contract import BARRED, Vote, bounded, votes

LONGER_PROMPTS = ("few_shot", "many_shot", "rag", "rag+lora")
DOES_NOT_FIT = -30.0
"""Below everything that fits, barred methods included."""


def memory(found: Found) -> list[Vote]:
    """Formulas of adapters/tuning/memory.py against the memory there is."""
    have = number(found, "gpu_gib")
    made = []
    for method in METHODS:
        needs = number(found, f"memory_gib.{method}")
        if needs is None or have is None:
            continue
        if needs > have:
            made.append(Vote(method, DOES_NOT_FIT, f"does not fit: needs {needs:.1f} GiB of {have:.1f} GiB"))
        else:
            made.append(Vote(method, 0.0, f"fits: needs {needs:.1f} GiB of {have:.1f} GiB"))
    return made


def base_size(found: Found) -> list[Vote]:
    """Small bases get little out of examples in a prompt; soft prompts need about 10 billion parameters (Lester et al.
    2021); tuning with passages helped at 3 billion and hurt at 7 (Soudani et al. 2024)."""
    size = number(found, "params_b")
    if size is None:
        return []
    said = f"a base of {size:.3g} billion parameters"
    if size < 1:
        made = votes(f"{said}: too small to learn much from a prompt", zero_shot=-0.8, few_shot=-0.8, many_shot=-1.0, rag=-0.2)
    else:
        strong = bounded(0.4 * math.log10(size / 3), -0.3, 0.5)
        made = votes(f"{said} reads a prompt the better the larger it is", zero_shot=strong, few_shot=strong, many_shot=strong)
    made += votes(f"{said}: passages and tuning together helped up to 3, not from 7", rag_lora=0.5 if size <= 3 else -0.3)
    soft = BARRED if size < 1 else -1.5 if size < 10 else 1.0
    return made + votes(f"{said}: soft prompts come level from about 10", prompt_tuning=soft)


def latency(found: Found) -> list[Vote]:
    """Added prompt tokens are waited for before the first token of the answer."""
    budget = number(found, "latency_budget_ms")
    if budget is None:
        return []
    made = []
    for method in LONGER_PROMPTS:
        wait, extra = number(found, f"added_ms.{method}"), number(found, f"prompt_tokens.{method}")
        if wait is not None and extra is not None:
            said = f"{extra:,.0f} more prompt tokens take about {wait:,.0f} ms of the {budget:,.0f} ms there are"
            made.append(Vote(method, -2.5 * bounded(wait / budget, 0, 2), said))
        elif budget < 300:
            said = f"a longer prompt within {budget:,.0f} ms"
            made.append(Vote(method, -1.5 if method == "many_shot" else -0.5, said))
    return made


def prompt_room(found: Found) -> list[Vote]:
    """A method whose prompt is longer than allowed, or than the base can read, cannot be used."""
    limits = [room for name in ("max_prompt_tokens", "context_tokens") if (room := number(found, name)) is not None]
    if not limits:
        return []
    made = []
    for method in LONGER_PROMPTS:
        extra = number(found, f"prompt_tokens.{method}")
        if extra is not None and extra > min(limits):
            made.append(Vote(method, BARRED, f"needs {extra:,.0f} prompt tokens, and {min(limits):,.0f} are possible"))
    return made


def traffic(found: Found) -> list[Vote]:
    """A longer prompt is paid for with every request, training once."""
    queries = number(found, "queries_per_day")
    if queries is None:
        return []
    made = []
    for method in LONGER_PROMPTS:
        extra = number(found, f"prompt_tokens.{method}")
        if extra and queries:
            points = -bounded(0.5 * math.log10(max(1.0, queries * extra / 1e7)), 0, 1.5)
            made.append(Vote(method, points, f"{queries * extra:,.0f} more prompt tokens a day ({queries:,.0f} requests)"))
    return made


def tenants(found: Found) -> list[Vote]:
    """Many names on one base: small adapters share an engine, copies of the base do not (S-LoRA, Sheng et al. 2023)."""
    names = number(found, "tenants")
    if names is None or names < 20:
        return []
    said = f"{names:,.0f} adapted models beside each other"
    return votes(said, prompt_tuning=1.0, lora=0.6, head=0.3, full=-2.0, continued_pretraining=-2.0)


def training_time(found: Found) -> list[Vote]:
    """Says how long training takes; counts against copies of the base that take more than a day."""
    made = []
    for method in SUPERVISED:
        seconds = number(found, f"train_seconds.{method}")
        if seconds is not None:
            points = -bounded(math.log10(seconds / 86_400), 0, 2) if method == "full" and seconds > 0 else 0.0
            made.append(Vote(method, points, f"about {seconds:,.0f} s of training"))
    return made
