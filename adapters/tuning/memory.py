"""Will it fit? The peak memory of a run before it starts, from the base's shape and what the recipe says; no torch.

A run goes through stages, and its peak is the largest of theirs: the base answers, the model trains, the result is saved.
What the loop keeps is counted in `activations.py`; measured here are only what a process takes that computes nothing yet,
and what the allocator loses (`python -m tests.bench memory` compares all of it with real peaks). Knows no data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from adapters.bases import BaseFacts
from adapters.data.batches import TOKENS_AT_ONCE, rows_at_once
from adapters.errors import InvalidInput
from adapters.tuning import activations, shapes
from adapters.tuning.activations import FP32, Tuned
from adapters.tuning.machine import GIB
from adapters.tuning.recipe import Recipe
from adapters.tuning.shapes import Norms

RUNTIME_GIB = {"cpu": 0.70, "cuda": 0.60}
"""Measured on a CPU: torch, transformers and peft loaded, a tokenizer, and one step of next to nothing. On a GPU: the
context and its kernels, which no allocator of torch counts."""
HOLES = 0.57
"""On a CPU, the share of what a block works with and lets go that glibc's heap cannot use again, once something that stays
was put into it: aligned blocks fit badly into what others left. Measured; the bench's ratios are with this one number. With
`MALLOC_MMAP_THRESHOLD_=65536` it is zero."""
ROUNDED = 0.05
"""On a GPU, of activations: blocks are rounded up, and segments are not shared. Set before it was measured."""
SPOILT = 0.3
"""On a GPU, of gradients, which are laid into segments that activations left: measured 0.3 to 0.6 (H100, 1 to 8 B)."""
WORKSPACE_GIB = {"cpu": 0.0, "cuda": 0.03}
"""cuBLAS's, 32 MiB on Hopper (NVIDIA's documentation of cublasSetWorkspace)."""
ANSWERED_AT_ONCE = 16
"""Rows, as in `evaluation/completer.py`."""
NF4_BYTES = 0.5 + (1 + FP32 / 256) / 64
"""A weight in 4 bits with its share of twice quantised scales (Dettmers et al., 2023, section 3)."""
ENCODER = BaseFacts(
    params=22_713_216, hidden=384, layers=6, vocab=30_522, heads=12, kv_heads=12, head_dim=32, intermediate=1536, context=256,
    tied=True, bytes_per_param=4.0, digest="all-MiniLM-L6-v2",
)  # fmt: skip
TEXTS_AT_ONCE, HEAD_TEXTS_AT_ONCE, HEAD_TEXT_TOKENS = 16, 8, 512
"""Read for features, and while a backbone is tuned with its head, as in `classifier.py` and `heads.py`."""
SPLIT = ("weights", "trained", "gradients", "optimiser")
"""Parts of which FSDP2 gives every process its own share."""
LABELS = 1000
"""A head of so many is still small."""


@dataclass(frozen=True, slots=True)
class Work:
    """What of a recipe, its rows and this machine decides how much memory a run takes."""

    method: str
    objective: str = "sft"
    rank: int = 16
    targets: str = "all"
    variant: str = "plain"
    batch_size: int = 8
    micro_batch_size: int = 8
    sequence_length: int = 512
    """Tokens of the longest row."""
    supervised: int | None = None
    """Tokens of a row that are learned, at most; None: all of them."""
    answer_tokens: int = 256
    gradient_checkpointing: bool = False
    precision: str = "mixed"
    as_lora: int = 0
    weights: str = "lora"
    virtual_tokens: int = 16
    backbone: str = "encoder"
    unfreeze_epochs: int = 0
    bytes_per_weight: float = 2.0
    """Of the base as it is opened: 2 for bf16, 4 where the processor computes in fp32 only."""
    device: str = "cuda"
    norms: Norms = field(default_factory=Norms)
    processes: int = 1
    """That train together, each on a GPU of its own, or all in main memory."""
    sharding: str = "ddp"


@dataclass(frozen=True, slots=True)
class Estimate:
    gib: float
    parts: dict[str, float]
    """GiB by what takes it, in the stage that takes most; they sum up to `gib`."""
    stage: str


Parts = dict[str, float]
"""Bytes by what takes them."""


def work(
    recipe: Recipe, base_folder: Path, *, longest: int, supervised: int, answer_tokens: int, bytes_per_weight: float,
    device: str,
) -> Work:  # fmt: skip
    """What this recipe comes to with these rows: tokens of the longest, learned tokens and answered tokens at most."""
    shared = {one.name for one in dataclasses.fields(Recipe)} & {one.name for one in dataclasses.fields(Work)}
    knobs: dict[str, Any] = {name: getattr(recipe, name) for name in shared}
    return Work(
        **knobs, sequence_length=longest, supervised=supervised, answer_tokens=answer_tokens, bytes_per_weight=bytes_per_weight,
        device=device, norms=shapes.norms(base_folder),
    )  # fmt: skip


def _answering(facts: BaseFacts, asked: Work) -> Parts:
    """Many conversations at once: every token's keys and values, one block's work, logits. More go together of shorter ones."""
    base = facts, asked.norms, asked.bytes_per_weight, asked.device, asked.answer_tokens
    lengths = (asked.sequence_length, min(asked.sequence_length, TOKENS_AT_ONCE // ANSWERED_AT_ONCE))
    return max((_answering_at(*base, length) for length in lengths), key=lambda parts: sum(parts.values()))


@lru_cache(maxsize=256)  # it is the same for every method of a base
def _answering_at(facts: BaseFacts, norms: Norms, number: float, device: str, answer_tokens: int, length: int) -> Parts:
    rows = rows_at_once(length, ANSWERED_AT_ONCE)
    cache = 2 * facts.kv_heads * facts.head_dim * number * rows * (length + answer_tokens)
    work = length * activations.forward_only(Tuned(facts, norms, number, device, length)) + facts.vocab * (number + 2 * FP32)
    return {"weights": facts.params * number, "kv_cache": cache * facts.layers, "activations": rows * work}


def _with_passages(facts: BaseFacts, asked: Work) -> Parts:
    return _answering(facts, asked) | {"encoder": FP32 * ENCODER.params + _texts(ENCODER, asked, ENCODER.context)}


def _texts(facts: BaseFacts, asked: Work, window: int) -> float:
    """Bytes of a forward pass over texts that keeps no gradients."""
    tokens = min(window, asked.sequence_length)
    return TEXTS_AT_ONCE * tokens * activations.forward_only(Tuned(facts, asked.norms, FP32, asked.device, tokens))


def _head(facts: BaseFacts, asked: Work) -> Parts:
    """Features without gradients; the backbone in fp32 with all its states only where it is unfrozen."""
    own = ENCODER if asked.backbone == "encoder" else facts
    window = min(asked.sequence_length, ENCODER.context if asked.backbone == "encoder" else HEAD_TEXT_TOKENS)
    number = FP32 if asked.backbone == "encoder" else asked.bytes_per_weight
    head = 4.0 * FP32 * own.hidden * LABELS
    if not asked.unfreeze_epochs:
        return {"weights": own.params * number, "activations": _texts(own, asked, window), "trained": head}
    tuned = Tuned(own, asked.norms, FP32, asked.device, window, layers="all")
    kept = HEAD_TEXTS_AT_ONCE * window * own.layers * activations.of_block(tuned)
    kept += max(activations.in_work(tuned, HEAD_TEXTS_AT_ONCE), FP32 * own.vocab * own.hidden)  # one more gradient of the table
    states = {"weights": FP32 * own.params, "optimiser": 2.0 * FP32 * own.params, "trained": head}
    # rows are summed over micro-batches, so the gradients of the first lie beside the second
    return states | {"gradients": FP32 * own.params} | _with_lost(kept, tuned, HEAD_TEXTS_AT_ONCE * window, FP32 * own.params)


def _tuned(facts: BaseFacts, asked: Work, layers: str) -> Tuned:
    in_fp32 = layers in ("linear", "all") and asked.precision == "mixed" and asked.bytes_per_weight < FP32
    return Tuned(
        facts, asked.norms, asked.bytes_per_weight, asked.device, _row(asked), layers, in_fp32=in_fp32, rank=asked.rank,
        targets=asked.targets if layers == "lora" else "all", is_dora=asked.variant == "dora",
    )  # fmt: skip


def _row(asked: Work) -> int:
    """Tokens of the longest row as the model reads it."""
    return asked.sequence_length + (asked.virtual_tokens if asked.method == "prompt_tuning" else 0)


def _activations(tuned: Tuned, asked: Work, summed: float = 0.0) -> Parts:
    """At their largest: when the forward pass has just ended, or a block of it is made anew; and what is lost by then."""
    rows = asked.micro_batch_size * (2 if asked.objective == "dpo" else 1)
    tokens, layers = rows * tuned.length, tuned.facts.layers
    learned = asked.sequence_length if asked.supervised is None else min(asked.supervised, asked.sequence_length)
    block, residual = tokens * activations.of_block(tuned), tokens * activations.of_residual(tuned)
    losses, working = activations.of_losses(tuned, rows * learned), activations.in_work(tuned, rows)
    if asked.gradient_checkpointing:
        return _with_lost(layers * residual + max(block + working, losses), tuned, tokens, summed)
    # the loss is made when all blocks are kept, and what the last block's gradients need comes after
    return _with_lost(layers * block + max(losses, working), tuned, tokens, summed)


def _with_lost(kept: float, tuned: Tuned, tokens: int, summed: float = 0.0) -> Parts:
    """`summed`: bytes of gradients that outlive a micro-batch. Each is laid into a hole that an activation left and spoils the
    rest of it: measured 0.4 to 2.3 times its own size, taken as once."""
    holes = HOLES * tokens * tuned.facts.layers * activations.let_go(tuned) + min(summed, kept)
    return {"activations": kept, "lost": holes if tuned.device == "cpu" else ROUNDED * kept}


def _frozen(facts: BaseFacts, asked: Work, layers: str, trained: float, weights: float) -> Parts:
    """The base as it is, and some fp32 weights that learn: weight, gradient and two moments, 16 bytes each."""
    return {"weights": weights, "trained": trained * 4 * FP32} | _activations(_tuned(facts, asked, layers), asked)


def _prompt_tuning(facts: BaseFacts, asked: Work) -> Parts:
    return _frozen(facts, asked, "none", asked.virtual_tokens * facts.hidden, facts.params * asked.bytes_per_weight)


def _lora(facts: BaseFacts, asked: Work) -> Parts:
    trained = asked.rank * shapes.lora_params_per_rank(facts, asked.targets)
    return _frozen(facts, asked, "lora", trained, facts.params * asked.bytes_per_weight)


def _qlora(facts: BaseFacts, asked: Work) -> Parts:
    """Embeddings and the output layer stay as they are. One matrix at a time is computed with in the base's dtype."""
    linear = shapes.linear_params(facts)
    weights = linear * NF4_BYTES + max(facts.params - linear, 0) * asked.bytes_per_weight
    opened = facts.hidden * facts.intermediate * asked.bytes_per_weight
    return _frozen(facts, asked, "lora", asked.rank * shapes.lora_params_per_rank(facts, asked.targets), weights + opened)


def _full(facts: BaseFacts, asked: Work) -> Parts:
    """Two moments always; gradients and activations at their largest at different times, unless gradients are summed over
    micro-batches. In `mixed` weights are fp32, and a copy in the base's dtype lives as long as the activations."""
    tuned = _tuned(facts, asked, "linear" if asked.as_lora else "all")
    number = FP32 if asked.precision == "mixed" else asked.bytes_per_weight
    table = facts.vocab * facts.hidden
    learning = float(shapes.linear_params(facts) if asked.as_lora else facts.params)
    copied = facts.params - (0 if facts.tied else table) if tuned.in_fp32 else 0
    gradients, copies = learning * number, copied * asked.bytes_per_weight
    is_summed = asked.batch_size > asked.micro_batch_size
    kept = _activations(tuned, asked, gradients if is_summed else 0.0)
    table_bytes = 0.0 if asked.as_lora else table * number  # the embedding's gradient is made beside the output layer's
    early = gradients if is_summed else table_bytes
    parts = {"weights": facts.params * number, "optimiser": 2 * learning * number}
    spoilt = SPOILT * gradients if asked.device == "cuda" else 0.0
    if sum(kept.values()) + copies + early >= gradients + table_bytes:
        return parts | kept | {"gradients": early, "copies": copies, "lost": kept["lost"] + spoilt}
    return parts | {"gradients": gradients + table_bytes, "lost": spoilt}


def _differences(facts: BaseFacts, asked: Work) -> Parts:
    """Of `as_lora`: what was tuned, what was before and the difference, of which the last two in fp32 in main memory."""
    number = FP32 if asked.precision == "mixed" else asked.bytes_per_weight
    beside = 0 if asked.device == "cuda" else FP32 * (facts.params + shapes.linear_params(facts))
    return {"weights": facts.params * number, "differences": float(beside)}


def _continued(facts: BaseFacts, asked: Work) -> Parts:
    return (_full if asked.weights == "full" else _lora)(facts, asked)


Formula = Callable[[BaseFacts, Work], Parts]
FORMULAS: dict[str, dict[str, Formula]] = {
    "zero_shot": {"answers": _answering},
    "few_shot": {"answers": _answering},
    "many_shot": {"answers": _answering},
    "rag": {"answers": _with_passages},
    "head": {"answers": _answering, "training": _head},
    "prompt_tuning": {"answers": _answering, "training": _prompt_tuning},
    "lora": {"answers": _answering, "training": _lora},
    "qlora": {"answers": _answering, "training": _qlora},
    "full": {"answers": _answering, "training": _full},
    "continued_pretraining": {"training": _continued},
}
"""By method and stage."""


def estimate(facts: BaseFacts, method: str, **knobs: Any) -> Estimate:
    """`predict` for a method and fields of `Work`; what is not said is as there."""
    return predict(facts, Work(method, **knobs))


def predict(facts: BaseFacts, asked: Work) -> Estimate:
    """Peak memory of making and scoring an adapted model, in GiB, on the device that computes.

    A sum (`rag+lora`) needs what its most demanding member needs. Raises InvalidInput for an unknown method.
    """
    return max(stages(facts, asked), key=lambda stage: stage.gib)


def stages(facts: BaseFacts, asked: Work) -> list[Estimate]:
    """What each stage of a run takes while it lasts; of a sum, the stages of its members."""
    found = []
    for name in asked.method.split("+"):
        if name not in FORMULAS:
            raise InvalidInput(f"'{name}' is no method; known: {', '.join(FORMULAS)}, and sums like rag+lora", param="method")
        member = asked if name == asked.method else dataclasses.replace(asked, method=name)
        formulas = FORMULAS[name] | ({"saving": _differences} if asked.as_lora and name == "full" else {})
        for stage, formula in formulas.items():
            parts = formula(facts, member)
            found.append(_summed(stage, _of_several(facts, member, parts) if stage == "training" else parts, asked.device))
    return found


def _of_several(facts: BaseFacts, asked: Work, parts: Parts) -> Parts:
    """What one of several processes takes of its GPU, or all of them of main memory. FSDP2 holds, beside a part of the
    model, the block that computes and the next one whole, and the embedding all the time."""
    if asked.processes == 1:
        return parts
    if asked.sharding == "fsdp2":
        whole = 2 / facts.layers + facts.vocab * facts.hidden / facts.params
        split = {part: parts[part] / asked.processes for part in SPLIT if part in parts}
        parts = parts | split | {"gathered": parts["weights"] * whole}
    if asked.device != "cpu":
        return parts
    others = (asked.processes - 1) * RUNTIME_GIB["cpu"] * GIB
    return {part: asked.processes * size_bytes for part, size_bytes in parts.items()} | {"other processes": others}


def _summed(stage: str, parts: Parts, device: str) -> Estimate:
    gib = {part: size_bytes / GIB for part, size_bytes in parts.items()}
    gib |= {"runtime": RUNTIME_GIB[device], "workspace": WORKSPACE_GIB[device]}
    return Estimate(sum(gib.values()), gib, stage)
