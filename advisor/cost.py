"""What each method costs on one base: memory, training time, longer prompts and the wait they bring.

Formulas only, each with its source in `how`; what is assumed for want of a number is said there too. Knows no rule.
"""

from __future__ import annotations

import shutil
from functools import lru_cache

from adapters.bases import BaseFacts
from adapters.tuning import memory
from adapters.tuning.recipe import usual_epochs
from advisor.candidates import CANDIDATES, METHODS, SHOWING, SUPERVISED, TRAINED
from advisor.evidence import STATED, Evidence, Found, number

TYPICAL_ROW_TOKENS = 512.0
FEW_SHOTS, MANY_SHOTS = 8, 64
ROWS_AT_ONCE = (8, 4, 2, 1)
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
    row, rows = number(found, "tokens_per_example"), number(found, "n_examples")
    shots = tuple(_shots(method, rows) for method in SHOWING)
    made = [*_prompts(row, shots)]
    if facts is None:
        return made
    tflops = number(found, "train_tflops") or assumed_speed(found)
    if "train_tflops" not in found:
        made.append(Evidence("train_tflops", tflops, "TFLOP/s", ASSUMED[tflops]))
    extras = tuple((one.name.removeprefix("prompt_tokens."), int(one.value or 0)) for one in made if "prompt" in one.name)
    made += _memories(row, extras, number(found, "gpu_gib"), "cuda" if on_gpu(found) else "cpu", facts)
    made += _waits(extras, facts.params, tflops)
    return made if rows is None else [*made, *_trainings(row, int(rows), tflops, facts)]


# Each part depends on few numbers and is kept: while one number of an advice is moved, most of them stay as they are.


@lru_cache(maxsize=512)
def _prompts(row: float | None, shots: tuple[int, ...]) -> tuple[Evidence, ...]:
    made = []
    for method in METHODS:
        extra, what = _extra(method, row, dict(zip(SHOWING, shots, strict=True)).get(method, 0))
        if extra:
            made.append(Evidence(f"prompt_tokens.{method}", extra, "tokens", f"added to every request: {what}"))
    return tuple(made)


def _extra(method: str, row: float | None, shots: int) -> tuple[int, str]:
    if method in SHOWING:
        length = f"of {TYPICAL_ROW_TOKENS:g} tokens, assumed for want of a length" if row is None else "of tokens_per_example"
        return round(shots * (row or TYPICAL_ROW_TOKENS)), f"{shots} examples {length}"
    return (RAG_TOKENS, "3 passages of 200 words") if "rag" in method else (0, "")


@lru_cache(maxsize=512)
def _memories(
    row: float | None, extras: tuple[tuple[str, int], ...], have: float | None, kind: str, facts: BaseFacts
) -> tuple[Evidence, ...]:
    more = dict(extras)
    least = max(64, round(row or TYPICAL_ROW_TOKENS))
    return tuple(_memory(one, least + (more.get(one, 0) if one not in TRAINED else 0), have, kind, facts) for one in METHODS)


@lru_cache(maxsize=512)
def _waits(extras: tuple[tuple[str, int], ...], params: int, tflops: float) -> tuple[Evidence, ...]:
    how = "2 FLOPs a parameter for each added prompt token, nothing cached, at train_tflops"
    return tuple(
        Evidence(f"added_ms.{method}", round(1000 * 2 * params * extra / (tflops * 1e12), 1), "ms", how)
        for method, extra in extras
    )


@lru_cache(maxsize=512)
def _trainings(row: float | None, rows: int, tflops: float, facts: BaseFacts) -> tuple[Evidence, ...]:
    """A head's backbone is the encoder, read once; rag+lora learns to read passages, so its rows carry them."""
    made = []
    for method in SUPERVISED:
        tokens = rows * ((row or TYPICAL_ROW_TOKENS) + (RAG_TOKENS if method == "rag+lora" else 0))
        epochs, params = usual_epochs(CANDIDATES[method].method, "sft", rows)[0], facts.params
        if method == "head":
            epochs, params = 1, memory.ENCODER.params
        flops = FLOPS_PER_PARAM[method] * params * tokens * epochs
        how = f"{FLOPS_PER_PARAM[method]} FLOPs a parameter and token, {epochs} epochs, at train_tflops"
        made.append(Evidence(f"train_seconds.{method}", round(flops / (tflops * 1e12), 1), "s", how))
    return tuple(made)


def _shots(method: str, rows: float | None) -> int:
    wanted = MANY_SHOTS if method == "many_shot" else FEW_SHOTS
    return wanted if rows is None else min(wanted, int(rows))


def assumed_speed(found: Found) -> float:
    """Of a GPU where one is here or its memory is stated, else of a processor."""
    return GPU_TFLOPS if on_gpu(found) else CPU_TFLOPS


def on_gpu(found: Found) -> bool:
    stated = "gpu_gib" in found and found["gpu_gib"].how.startswith(STATED)
    return stated or _has_gpu()


@lru_cache(maxsize=1)
def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None


def _memory(method: str, length: int, have: float | None, kind: str, facts: BaseFacts) -> Evidence:
    made, sizes = CANDIDATES[method].method, ROWS_AT_ONCE
    gib = _gib(facts, made, sizes[0], length, kind)
    rows = sizes[0]
    if have is not None and gib > have:  # smaller steps give the same result, more slowly
        rows, gib = sizes[-1], _gib(facts, made, sizes[-1], length, kind)
        for more in sizes[1:-1] if gib <= have else ():
            if (needs := _gib(facts, made, more, length, kind)) <= have:
                rows, gib = more, needs
                break
    how = f"formula over the base's shape, bf16, {rows} rows of {length} tokens at once (adapters/tuning/memory.py)"
    return Evidence(f"memory_gib.{method}", round(gib, 2), "GiB", how)


@lru_cache(maxsize=4096)
def _gib(facts: BaseFacts, method: str, rows: int, length: int, kind: str) -> float:
    # a domain's text is billions of tokens, and counted as read with all weights, in memory as in time
    asked = memory.Work(method, micro_batch_size=rows, sequence_length=length, device=kind, weights="full")
    return memory.predict(facts, asked).gib
