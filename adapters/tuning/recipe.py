"""How to tune: a method and its knobs, frozen, checked, and with defaults that name their source.

Standard library only, so that every floor can read and print one. Knows no method's code and no data.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from adapters.bases import BaseFacts
from adapters.errors import InvalidInput

OBJECTIVES = ("sft",)

RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 100),
    "learning_rate": (1e-8, 1.0),
    "batch_size": (1, 4096),
    "micro_batch_size": (1, 4096),
    "warmup_share": (0.0, 0.5),
    "weight_decay": (0.0, 1.0),
    "max_grad_norm": (0.01, 1000.0),
    "max_length": (16, 1_000_000),
    "rank": (1, 512),
    "alpha": (1, 4096),
    "shots": (1, 1000),
    "seed": (0, 2**31 - 1),
    "validation_share": (0.01, 0.5),
    "held_out_share": (0.01, 0.5),
    "early_stop_patience": (1, 100),
    "scored_rows": (1, 100_000),
    "checkpoint_every_s": (0.0, 86_400.0),
}
"""Lowest and highest value of each number, both allowed."""

TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Raises InvalidInput naming the field when a value is of the wrong type or out of range."""

    method: str
    objective: str = "sft"
    epochs: int = 3
    learning_rate: float = 2e-4
    batch_size: int = 8
    """Rows an optimiser step learns from."""
    micro_batch_size: int = 8
    """Rows in memory at once; smaller changes time and memory, not the result (up to rounding)."""
    warmup_share: float = 0.05
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    max_length: int = 1024
    """Tokens of a row; longer rows are left out and counted, never cut."""
    rank: int = 16
    alpha: int = 32
    rslora: bool = False
    """Scale by alpha / sqrt(rank) instead of alpha / rank (Kalajdzievski, 2023, arXiv 2312.03732)."""
    shots: int = 4
    seed: int = 0
    validation_share: float = 0.1
    held_out_share: float = 0.2
    early_stop_patience: int = 2
    """Epochs without a lower validation loss after which training ends."""
    scored_rows: int = 100
    """Held-out rows that are answered for the scorecard, at most."""
    checkpoint_every_s: float = 30.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, wanted = getattr(self, field.name), TYPES[str(field.type)]
            if wanted is float and type(value) is int:
                object.__setattr__(self, field.name, float(value))
            elif type(value) is not wanted:
                raise InvalidInput(f"{field.name} must be {wanted.__name__}, not {value!r}", param=field.name)
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:  # also refuses NaN
                raise InvalidInput(f"{name} must be from {low:g} to {high:g}, not {getattr(self, name)}", param=name)
        if self.objective not in OBJECTIVES:
            raise InvalidInput(f"objective must be one of {', '.join(OBJECTIVES)}, not '{self.objective}'", param="objective")


def defaults(method: str, n_examples: int, facts: BaseFacts) -> Recipe:
    """A recipe to start from, for this many rows and this base; change what you like with `dataclasses.replace`."""
    few = n_examples < 1000
    return Recipe(
        method=method,
        # 1 to 3 epochs, up to 8 below a thousand rows with early stopping on held-out loss (Biderman et al., 2024)
        epochs=4 if few else 3 if n_examples < 20_000 else 1,
        learning_rate=lora_learning_rate(facts.hidden),
        # effective batches of 8 to 32; LoRA loses above 32 whatever the rank (Schulman, "LoRA Without Regret", 2025)
        batch_size=8 if few else 16,
        micro_batch_size=8,
        # 3 to 10 % warm-up (LoRA Land, 2024, arXiv 2405.00732)
        warmup_share=0.05 if few else 0.03,
        max_length=min(facts.context, 1024),
        # rank 16 to 32 for style, format and classification; alpha twice the rank (Biderman et al., 2024)
        rank=16,
        alpha=32,
    )


def lora_learning_rate(hidden: int) -> float:
    """5e-5 · 10 · (2000 / hidden)^0.781: ten times the full-tuning optimum, falling with width.

    From the hyperparameter sweeps of tinker-cookbook (`hyperparam_utils.py`, Llama family); Llama-3.1-8B: 2.9e-4.
    Capped at 1e-3: the sweeps end at a width of 2048, and published LoRA optima lie between 5e-5 and 5e-4.
    """
    return min(5e-4 * math.pow(2000 / hidden, 0.781), 1e-3)


def to_json(recipe: Recipe) -> dict[str, Any]:
    return dataclasses.asdict(recipe)


def from_json(raw: dict[str, Any]) -> Recipe:
    """The recipe `to_json` wrote. Unknown fields are errors; missing ones take their defaults."""
    known = {field.name for field in dataclasses.fields(Recipe)}
    for name in raw:
        if name not in known:
            raise InvalidInput(f"a recipe has no '{name}'; it has: {', '.join(sorted(known))}", param=name)
    if "method" not in raw:
        raise InvalidInput("a recipe needs a method", param="method")
    return Recipe(**raw)
