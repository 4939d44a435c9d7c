"""Memory that others measured on their own loops, beside what Graft's formula foretells of the same run. Torch is not needed.

A loop that keeps whole logits needs more than Graft's, which never has them whole; that difference is counted and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.bases import BaseFacts
from adapters.tuning.machine import GIB
from adapters.tuning.memory import Work, stages

LLAMA_3B = BaseFacts(
    params=3_212_749_824, hidden=3072, layers=28, vocab=128_256, heads=24, kv_heads=8, head_dim=128, intermediate=8192,
    context=131_072, tied=True, bytes_per_param=2.0, digest="Llama-3.2-3B",
)  # fmt: skip
LLAMA_8B = BaseFacts(
    params=8_030_261_248, hidden=4096, layers=32, vocab=128_256, heads=32, kv_heads=8, head_dim=128, intermediate=14_336,
    context=131_072, tied=False, bytes_per_param=2.0, digest="Llama-3.1-8B",
)  # fmt: skip
LOGITS_KEPT = 3
"""Copies in fp32 of a loop that has them whole: the logits, their logarithms of probability, and the gradient."""


@dataclass(frozen=True, slots=True)
class Measured:
    facts: BaseFacts
    work: Work
    gib: float
    keeps_logits: bool
    source: str


SHORT: Mapping[str, Any] = {"batch_size": 4, "micro_batch_size": 4, "sequence_length": 768}
LONG: Mapping[str, Any] = {"batch_size": 2, "micro_batch_size": 2, "sequence_length": 2048, "gradient_checkpointing": True}
PEFT = "PEFT's method_comparison/MetaMathQA, one L40S"
TORCHTUNE = "torchtune's README, one RTX 4090, packed, compiled, logits in chunks"
MEASURED: Mapping[str, Measured] = {
    "3B, LoRA r 32, 4 x 768": Measured(LLAMA_3B, Work("lora", rank=32, targets="attention", **SHORT), 18.7, True,
                                       f"{PEFT}; 99th percentile of the run"),
    "3B, all weights in bf16, 4 x 768": Measured(LLAMA_3B, Work("full", precision="pure", **SHORT), 36.2, True, PEFT),
    "8B, LoRA r 8, 2 x 2048": Measured(LLAMA_8B, Work("lora", rank=8, targets="attention", **LONG), 16.2, False, TORCHTUNE),
    "8B, QLoRA r 8, 2 x 2048": Measured(LLAMA_8B, Work("qlora", rank=8, targets="attention", **LONG), 7.4, False, TORCHTUNE),
}  # fmt: skip


def beside_published() -> dict[str, Any]:
    made = {}
    for name, one in MEASURED.items():
        training = next(stage.gib for stage in stages(one.facts, one.work) if stage.stage == "training")
        tokens = one.work.micro_batch_size * one.work.sequence_length
        logits = LOGITS_KEPT * 4 * tokens * one.facts.vocab / GIB if one.keeps_logits else 0.0
        made[name] = {
            "published_gib": one.gib, "foretold_gib": round(training + logits, 1), "of_that_logits": round(logits, 1),
            "off": round((training + logits) / one.gib - 1, 3), "source": one.source,
        }  # fmt: skip
        print(f"memory, {name}: {made[name]}", flush=True)
    return made
