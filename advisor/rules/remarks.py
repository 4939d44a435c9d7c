"""What is told of a method's memory, time and traffic. It moves nothing: what it costs is weighed in `utility.py`."""

from __future__ import annotations

from advisor.candidates import METHODS, SHOWING, SUPERVISED
from advisor.evidence import Found, number
from advisor.reason import because
from advisor.rules.contract import Remark

LONGER_PROMPTS = (*SHOWING, "rag", "rag+lora")


def memory(found: Found) -> list[Remark]:
    """Formulas of adapters/tuning/memory.py against the memory there is."""
    have = number(found, "gpu_gib")
    made = []
    for method in METHODS:
        needs = number(found, f"memory_gib.{method}")
        if needs is not None and have is not None:
            fits = "fits" if needs <= have else "does not fit"
            made.append(Remark(method, because(found, f"{fits}: needs {{memory_gib.{method}:.1f}} GiB of {{gpu_gib:.1f}} GiB")))
    return made


def latency(found: Found) -> list[Remark]:
    """Added prompt tokens are waited for before the first token of the answer."""
    if number(found, "latency_budget_ms") is None:
        return []
    made = []
    for method in LONGER_PROMPTS:
        if number(found, f"added_ms.{method}") is not None and number(found, f"prompt_tokens.{method}") is not None:
            says = (f"{{prompt_tokens.{method}:,.0f}} more prompt tokens take about {{added_ms.{method}:,.0f}} ms"
                    " of the {latency_budget_ms:,.0f} ms there are")  # fmt: skip
            made.append(Remark(method, because(found, says)))
    return made


def traffic(found: Found) -> list[Remark]:
    """A longer prompt is paid for with every request, training once."""
    if not number(found, "queries_per_day"):
        return []
    made = []
    for method in LONGER_PROMPTS:
        if number(found, f"prompt_tokens.{method}"):
            says = f"{{prompt_tokens.{method}:,.0f}} more prompt tokens with each of {{queries_per_day:,.0f}} requests a day"
            made.append(Remark(method, because(found, says)))
    return made


def tenants(found: Found) -> list[Remark]:
    """Many names on one base: small adapters share an engine, copies of the base do not (S-LoRA, Sheng et al. 2023)."""
    names = number(found, "tenants")
    if names is None or names < 2:
        return []
    copies = because(found, "{tenants:,.0f} adapted models beside each other, each a copy of the base")
    small = because(found, "{tenants:,.0f} adapted models beside each other share the base")
    return [Remark(one, copies) for one in ("full", "continued_pretraining")] + [
        Remark(one, small) for one in ("prompt_tuning", "lora", "head")
    ]


def training_time(found: Found) -> list[Remark]:
    """FLOPs of the formula at the speed that is assumed or stated (`cost.py`); below a second they are nobody's concern."""
    return [
        Remark(method, because(found, f"about {{train_seconds.{method}:,.0f}} s of training"))
        for method in SUPERVISED
        if (number(found, f"train_seconds.{method}") or 0.0) >= 1
    ]
