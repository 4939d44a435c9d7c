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

OBJECTIVES = ("sft", "dpo", "classification", "lm")

CHOICES: dict[str, tuple[str, ...]] = {
    "objective": OBJECTIVES,
    "targets": ("all", "attention", "mlp"),
    "variant": ("plain", "dora", "pissa"),
    "precision": ("mixed", "pure"),
    "backbone": ("encoder", "base"),
    "weights": ("lora", "full"),
    "when_nothing": ("tell", "refuse"),
    "selector": ("fitted", "fixed", "random", "balanced", "knn", "mmr", "bm25"),
}
"""What each word of a recipe may be."""

RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 1000),
    "learning_rate": (1e-8, 1.0),
    "batch_size": (1, 4096),
    "micro_batch_size": (1, 4096),
    "warmup_share": (0.0, 0.5),
    "weight_decay": (0.0, 1.0),
    "max_grad_norm": (0.01, 1000.0),
    "max_length": (16, 1_000_000),
    "rank": (1, 512),
    "alpha": (1, 4096),
    "shots": (0, 1000),
    "seed": (0, 2**31 - 1),
    "validation_share": (0.01, 0.5),
    "held_out_share": (0.01, 0.5),
    "early_stop_patience": (1, 100),
    "scored_rows": (1, 100_000),
    "fitting_rows": (1, 100_000),
    "without_gold_share": (0.0, 1.0),
    "checkpoint_every_s": (0.0, 86_400.0),
    "as_lora": (0, 512),
    "virtual_tokens": (1, 512),
    "beta": (1e-4, 2.0),
    "unfreeze_epochs": (0, 100),
    "unfreeze_learning_rate": (1e-8, 1.0),
    "layer_decay": (0.1, 1.0),
    "replay_share": (0.0, 0.9),
    "forgetting_budget": (0.0, 100.0),
    "keep_checkpoints": (0, 100),
}
"""Lowest and highest value of each number, both allowed."""

FITTED = "fitted"
MANY_SHOT_TOKENS = 8192
"""Of a prompt that nobody bounds; every question pays for it, or a prefix cache does."""

IN_CONTEXT = ("few_shot", "many_shot", "rag")
SEARCHING = ("rag", "rag+lora")
SLOW = ("head", "prompt_tuning")
"""Methods that learn by many short epochs."""

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
    shots: int = 0
    """Examples in a prompt; 0 lets validation rows decide."""
    selector: str = FITTED
    """Which examples: a word of `selectors.table.SELECTORS`; `fitted` lets validation rows decide, or with a number of
    shots takes so many, the answers in turn."""
    fitting_rows: int = 64
    """Validation rows that candidates are scored on, at most."""
    wordings: str = ""
    """Other system texts to try, with a line of three hyphens between them."""
    when_nothing: str = "tell"
    """Where no passage is found: `tell` the model so, or `refuse` to answer."""
    without_gold_share: float = 0.2
    """Of the rows that a model learns to read passages by: those with distractors alone (RAFT, Zhang et al., 2024, arXiv
    2403.10131, whose best shares of rows with the right passage lie between 0.4 and 1)."""
    seed: int = 0
    validation_share: float = 0.1
    held_out_share: float = 0.2
    early_stop_patience: int = 2
    """Epochs without a lower validation loss after which training ends."""
    scored_rows: int = 100
    """Held-out rows that are answered for the scorecard, at most."""
    checkpoint_every_s: float = 30.0
    gradient_checkpointing: bool = False
    """Computes activations anew in the backward pass: about a third more time for most of their memory."""
    precision: str = "mixed"
    """Of weights that are tuned themselves: `mixed` keeps them in fp32 and computes in bf16; `pure` keeps them in the
    base's own dtype, for a quarter to half of the memory, and rounds small steps away."""
    targets: str = "all"
    """Linear layers that LoRA adapts: `all`, those of `attention`, or those of the `mlp`."""
    variant: str = "plain"
    """LoRA as it is; `dora` (Liu et al., 2024, arXiv 2402.09353) or `pissa` (Meng et al., 2024, arXiv 2404.02948), both
    converted to plain LoRA when they are saved, as engines take nothing else."""
    as_lora: int = 0
    """After full tuning: the rank of the low-rank part of the difference that is served; 0 serves a base of its own."""
    weights: str = "lora"
    """What continued pretraining tunes."""
    virtual_tokens: int = 16
    """Of a soft prompt."""
    initial_text: str = ""
    """What a soft prompt starts from; empty: the task's own instruction, or sampled words of the vocabulary."""
    beta: float = 0.1
    """How closely DPO keeps to the reference (Rafailov et al., 2023, arXiv 2305.18290)."""
    backbone: str = "encoder"
    """What a head reads its features from: the sentence encoder, or the base."""
    unfreeze_epochs: int = 0
    """After a head was trained: epochs in which the backbone is tuned with it, from its last layer down."""
    unfreeze_learning_rate: float = 2e-5
    layer_decay: float = 0.8
    """Each layer below learns at this share of the rate above it (Howard and Ruder, 2018, arXiv 1801.06146)."""
    replay_share: float = 0.0
    """Of the rows learned from: the base's own answers to general prompts, against forgetting."""
    forgetting_budget: float = 0.0
    """Most nats per token that the loss on what the base says of itself may rise; 0 sets no bound."""
    keep_checkpoints: int = 0
    """Ends of epochs, the last so many, that are kept as models of their own."""

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
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise InvalidInput(f"{name} must be one of {', '.join(known)}, not '{getattr(self, name)}'", param=name)


@dataclass(frozen=True, slots=True)
class Choice:
    """One knob of a recipe, what it was set to, and why."""

    knob: str
    value: Any
    why: str


def defaults(
    method: str, n_examples: int, facts: BaseFacts, objective: str | None = None, variant: str | None = None,
    weights: str | None = None,
) -> Recipe:  # fmt: skip
    """A recipe to start from, for this many rows and this base; change what you like with `dataclasses.replace`."""
    found = choices(method, n_examples, facts, objective, variant, weights)
    return Recipe(method=method, **{choice.knob: choice.value for choice in found})


def choices(
    method: str, n_examples: int, facts: BaseFacts, objective: str | None = None, variant: str | None = None,
    weights: str | None = None,
) -> list[Choice]:  # fmt: skip
    """What `defaults` sets for this case, each with its source; every other knob stays as `Recipe` has it."""
    aim = objective or {"head": "classification", "continued_pretraining": "lm"}.get(method, "sft")
    rate, why_rate = _rate("full" if weights == "full" else method, aim, facts.hidden)
    epochs, why_epochs = usual_epochs(method, aim, n_examples)
    few = n_examples < 1000
    found = [
        Choice("objective", aim, "what this method minimises unless told otherwise"),
        Choice("epochs", epochs, why_epochs),
        Choice("learning_rate", rate, why_rate),
        *_batch(method, few),
        Choice("warmup_share", 0.05 if few else 0.03, "3 to 10 % of the steps (LoRA Land, 2024, arXiv 2405.00732)"),
        _longest(method, facts),
        *_shares(method),
        Choice("early_stop_patience", 10 if method in SLOW else 2, "epochs without a lower validation loss"),
    ]
    if method in ("lora", "qlora", "rag+lora", "continued_pretraining"):
        rank, why = _rank(method, variant)
        found += [Choice("rank", rank, why), Choice("alpha", 2 * rank, "twice the rank (Biderman et al., 2024)")]
    return found


def _shares(method: str) -> list[Choice]:
    if method not in IN_CONTEXT:
        return []
    return [Choice("validation_share", 0.2, "candidates are told apart on these rows, and nothing is trained on the others")]


def _longest(method: str, facts: BaseFacts) -> Choice:
    if method == "many_shot":
        return Choice("max_length", min(facts.context, MANY_SHOT_TOKENS), "all the context that an engine gives it")
    if method in SEARCHING:
        return Choice("max_length", min(facts.context, 2048), "a question with five passages of the longest size")
    return Choice("max_length", min(facts.context, 1024), "longer rows are rare, and memory grows with the longest")


def _rank(method: str, variant: str | None) -> tuple[int, str]:
    if method == "continued_pretraining":
        return 64, "new knowledge needs a high rank (Biderman et al., 2024, arXiv 2405.09673)"
    if variant in ("dora", "pissa"):
        return 8, "half of LoRA's, as it is saved at twice its rank; DoRA holds up at half (Liu et al., 2024)"
    return 16, "16 to 32 for style, format and classification (Biderman et al., 2024, arXiv 2405.09673)"


def _batch(method: str, few: bool) -> list[Choice]:
    if method == "head":
        why = "features are small, and the problem is convex"
        return [Choice("batch_size", 256, why), Choice("micro_batch_size", 256, why)]
    found = [Choice("batch_size", 8 if few else 16, "8 to 32 rows; LoRA loses above 32 at any rank (Schulman et al., 2025)")]
    if method == "rag+lora":
        found.append(Choice("micro_batch_size", 2, "rows with passages are long"))
    return found


def usual_epochs(method: str, aim: str, n_examples: int) -> tuple[int, str]:
    """Times through the rows, and why."""
    if method == "head":
        return 200, "a linear layer on stored features costs next to nothing, and validation ends it"
    if method == "prompt_tuning":
        return 20 if n_examples < 1000 else 5, "soft prompts learn slowly (Lester et al., 2021, arXiv 2104.08691)"
    if aim == "lm":
        return 1, "a domain's text is read once: repetition is forgetting (Biderman et al., 2024)"
    if n_examples < 1000:
        return 4, "up to 8 below a thousand rows, ended by the validation loss (Biderman et al., 2024)"
    return (3, "1 to 3 (Biderman et al., 2024)") if n_examples < 20_000 else (1, "many rows are seen often enough in one")


def _rate(method: str, aim: str, hidden: int) -> tuple[float, str]:
    sweeps = "5e-5 * 10 * (2000 / width)^0.781, at most 1e-3 (tinker-cookbook's sweeps)"
    if method == "head":
        return 1e-2, "Adam on a linear layer over standardised features: convex, so only the time depends on it"
    if method == "prompt_tuning":
        return 1e-2, "tens of times a weight's rate: few parameters, far from the loss (Lester et al., 2021)"
    lora = lora_learning_rate(hidden)
    if aim == "dpo":
        share = 5 if method != "full" else 50
        return lora / share, f"a fifth of supervised tuning's, which a bad answer's pull would overshoot; whose is {sweeps}"
    if method == "full":
        return lora / 10, f"a tenth of LoRA's (Schulman et al., 2025), whose is {sweeps}"
    return lora, sweeps


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
