"""What a method is worth to somebody: its quality, less what it costs to make, to serve, to wait for and to keep.

    U = quality - sum over burdens of weight * burden

in points of quality: a weight of 0.01 says that one unit of the burden is worth a hundredth of the score. Knows no rule and no
prediction; burdens are read from the evidence that `cost.py` computes, with a usual size where that is not known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from adapters.errors import InvalidInput
from advisor.evidence import Found, number


@dataclass(frozen=True, slots=True)
class Weights:
    making: float
    """A tenfold of the minutes that training takes."""
    serving: float
    """A doubling of a request's tokens; where traffic is stated, each tenfold of 10 million added tokens a day too."""
    waiting: float
    """A second before an answer starts."""
    keeping: float
    """A copy of the base for each adapted model; with tenants stated, for a tenfold of them."""
    forgetting: float
    """From 0, nothing of what the base could do is at risk, to 1."""
    lateness: float = 0.2
    """As much as the whole time there is before an answer has to start."""


PROFILES: dict[str, Weights] = {
    "quality": Weights(making=0.004, serving=0.004, waiting=0.01, keeping=0.01, forgetting=0.02),
    "cost": Weights(making=0.02, serving=0.03, waiting=0.01, keeping=0.05, forgetting=0.02),
    "latency": Weights(making=0.004, serving=0.01, waiting=0.15, keeping=0.01, forgetting=0.02),
}
"""Three users. In `quality` a point of score outweighs a doubling of the prompt twice over; in `cost`, three points do."""
DEFAULT = "quality"

USUAL_MINUTES = {
    "head": 0.2, "prompt_tuning": 30.0, "lora": 10.0, "full": 20.0, "rag+lora": 20.0, "continued_pretraining": 600.0,
}  # fmt: skip
"""Of training, where its length is not known."""
SEARCHED = {"knn_few_shot": 0.5, "rag": 0.5, "rag+lora": 0.5}
"""Doublings that searching before every request is worth; and what is found is new each time, so no prefix cache saves it."""
COPIES = ("full", "continued_pretraining")
FORGETTING = {"full": 0.4, "continued_pretraining": 0.7, "lora": 0.2, "rag+lora": 0.2, "prompt_tuning": 0.02}
"""An order, not a measurement: LoRA forgets less than full tuning (Biderman et al., 2024, arXiv 2405.09673), and what is frozen
cannot forget. A run measures its own."""
USUAL_ROW_TOKENS = 512.0
USUAL_S_PER_1000_TOKENS = 0.05
"""On a GPU, of a base of some billions of parameters."""


def burden(method: str, found: Found, profile: str) -> float:
    """What is taken off a method's quality. `found` is complete. Raises InvalidInput for an unknown profile."""
    weights = weights_of(profile)
    extra = number(found, f"prompt_tokens.{method}") or 0.0
    wait_ms = number(found, f"added_ms.{method}")
    wait_s = extra / 1000 * USUAL_S_PER_1000_TOKENS if wait_ms is None else wait_ms / 1000
    budget_ms = number(found, "latency_budget_ms")
    late = 0.0 if budget_ms is None else min(2.0, 1000 * wait_s / budget_ms)
    return (
        weights.making * _making(method, found)
        + weights.serving * _serving(method, extra, found)
        + weights.waiting * min(10.0, wait_s)
        + weights.keeping * _keeping(method, found)
        + weights.forgetting * FORGETTING.get(method, 0.0)
        + weights.lateness * (late if late < 1 else late + 1)
    )


def weights_of(profile: str) -> Weights:
    if profile not in PROFILES:
        raise InvalidInput(f"profile must be one of {', '.join(PROFILES)}, not '{profile}'", param="profile")
    return PROFILES[profile]


def _making(method: str, found: Found) -> float:
    seconds = number(found, f"train_seconds.{method}")
    minutes = USUAL_MINUTES.get(method, 0.0) if seconds is None else seconds / 60
    return math.log10(1 + minutes)


def _serving(method: str, extra: float, found: Found) -> float:
    row = number(found, "tokens_per_example") or USUAL_ROW_TOKENS
    doublings = math.log2(1 + extra / row) + SEARCHED.get(method, 0.0)
    queries = number(found, "queries_per_day")
    return doublings + (0.0 if not queries or not extra else math.log10(max(1.0, queries * extra / 1e7)))


def _keeping(method: str, found: Found) -> float:
    if method not in COPIES:
        return 0.0
    return 1 + 5 * math.log10(max(1.0, number(found, "tenants") or 1.0))
