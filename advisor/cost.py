"""What each method costs on one base: memory, training time, longer prompts and the wait they bring.

Formulas only, each with its source in `how`; what is assumed for want of a number is said there too. Knows no rule.
"""

from __future__ import annotations

import shutil
from functools import lru_cache

from adapters.bases import BaseFacts
from adapters.tuning import memory
from adapters.tuning.recipe import defaults
from advisor.candidates import CANDIDATES, METHODS, SHOWING, SUPERVISED, TRAINED
from advisor.evidence import STATED, Evidence, Found, number

TYPICAL_ROW_TOKENS = 512.0
FEW_SHOTS, MANY_SHOTS = 8, 64
RAG_TOKENS = 800
"""Three passages of 200 words at 4 tokens for 3 words."""

GPU_TFLOPS = 57.0
CPU_TFLOPS = 0.13
ASSUMED = {
    GPU_TFLOPS: "assumed: what the PEFT benchmark reached with LoRA on one L40S; state train_tflops to replace it",
    CPU_TFLOPS: "assumed: what LoRA on SmolLM2-135M reached on two cores in bf16; state train_tflops to replace it",
}
FLOPS_PER_PARAM = {"full": 6, "continued_pretraining": 6, "lora": 4, "rag+lora": 4, "prompt_tuning": 4, "head": 2}
"""Per token: forward 2, gradients of activations 2, gradients of weights 2 (Kaplan et al. 2020, arXiv 2001.08361)."""


def costs(found: Found, facts: BaseFacts | None) -> list[Evidence]:
    """Evidence named `<number>.<method>` for every method; without a base, only the prompt tokens are known."""
    made = []
    for method in METHODS:
        if (extra := extra_tokens(method, found)) > 0:
            made.append(
                Evidence(f"prompt_tokens.{method}", extra, "tokens", f"added to every request: {_added(method, found)}")
            )
    if facts is None:
        return made
    tflops = number(found, "train_tflops") or assumed_speed(found)
    if "train_tflops" not in found:
        made.append(Evidence("train_tflops", tflops, "TFLOP/s", ASSUMED[tflops]))
    for method in METHODS:
        made.append(_memory(method, found, facts))
        if method in SUPERVISED and (seconds := _training(method, found, facts, tflops)) is not None:
            made.append(seconds)
        if (extra := extra_tokens(method, found)) > 0:
            wait_ms = 1000 * 2 * facts.params * extra / (tflops * 1e12)
            how = "2 FLOPs a parameter for each added prompt token, nothing cached, at train_tflops"
            made.append(Evidence(f"added_ms.{method}", round(wait_ms, 1), "ms", how))
    return made


def extra_tokens(method: str, found: Found) -> int:
    """Tokens a method puts before every question."""
    row = number(found, "tokens_per_example") or TYPICAL_ROW_TOKENS
    if method in SHOWING:
        return round(_shots(method, found) * row)
    return RAG_TOKENS if "rag" in method else 0


def training_tokens(found: Found) -> float | None:
    rows = number(found, "n_examples")
    return None if rows is None else rows * (number(found, "tokens_per_example") or TYPICAL_ROW_TOKENS)


def _shots(method: str, found: Found) -> int:
    wanted = MANY_SHOTS if method == "many_shot" else FEW_SHOTS
    rows = number(found, "n_examples")
    return wanted if rows is None else min(wanted, int(rows))


def _added(method: str, found: Found) -> str:
    if "rag" in method:
        return "3 passages of 200 words"
    measured = "tokens_per_example" in found
    length = "of tokens_per_example" if measured else f"of {TYPICAL_ROW_TOKENS:g} tokens, assumed for want of a length"
    return f"{_shots(method, found)} examples {length}"


def assumed_speed(found: Found) -> float:
    """Of a GPU where one is here or its memory is stated, else of a processor."""
    return GPU_TFLOPS if on_gpu(found) else CPU_TFLOPS


def on_gpu(found: Found) -> bool:
    stated = "gpu_gib" in found and found["gpu_gib"].how == STATED
    return stated or shutil.which("nvidia-smi") is not None


def _memory(method: str, found: Found, facts: BaseFacts) -> Evidence:
    row = number(found, "tokens_per_example") or TYPICAL_ROW_TOKENS
    length = max(64, round(row)) + (extra_tokens(method, found) if method not in TRAINED else 0)
    have = number(found, "gpu_gib")
    kind = "cuda" if on_gpu(found) else "cpu"
    rows = 8

    gib = _gib(facts, CANDIDATES[method].method, rows, length, kind)
    while have is not None and gib > have and rows > 1:  # smaller steps give the same result, more slowly
        rows //= 2
        gib = _gib(facts, CANDIDATES[method].method, rows, length, kind)
    how = f"formula over the base's shape, bf16, {rows} rows of {length} tokens at once (adapters/tuning/memory.py)"
    return Evidence(f"memory_gib.{method}", round(gib, 2), "GiB", how)


@lru_cache(maxsize=4096)
def _gib(facts: BaseFacts, method: str, rows: int, length: int, kind: str) -> float:
    """Asked again and again while one number of an advice is moved."""
    # a domain's text is billions of tokens, and counted as read with all weights, in memory as in time
    asked = memory.Work(method, micro_batch_size=rows, sequence_length=length, device=kind, weights="full")
    return memory.predict(facts, asked).gib


@lru_cache(maxsize=1024)
def _epochs(rows: int, facts: BaseFacts) -> int:
    return defaults("lora", rows, facts).epochs


def _training(method: str, found: Found, facts: BaseFacts, tflops: float) -> Evidence | None:
    tokens, rows = training_tokens(found), number(found, "n_examples")
    if tokens is None or rows is None:
        return None
    epochs = _epochs(int(rows), facts) if method != "head" else 1
    flops = FLOPS_PER_PARAM[method] * facts.params * tokens * epochs
    how = f"{FLOPS_PER_PARAM[method]} FLOPs a parameter and token, {epochs} epochs, at train_tflops"
    return Evidence(f"train_seconds.{method}", round(flops / (tflops * 1e12), 1), "s", how)
