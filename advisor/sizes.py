"""What can I run? Bases from 0.1 to 70 billion parameters against the memory of a machine: as they are, LoRA, QLoRA, full.

The least that each takes: one row at a time, activations made anew in the backward pass. A run scores the base in 16 bits too,
so tuning fits only where that does. Shapes are those of published decoders (adapters/tuning/shapes.py), formulas those that
every run is checked with (adapters/tuning/memory.py). Knows no data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adapters.tuning import machine, memory, shapes
from advisor.cost import TYPICAL_ROW_TOKENS, on_gpu
from advisor.evidence import Evidence, by_name, number
from advisor.stated import Stated

SIZES_B = tuple(size for size in shapes.PUBLISHED if size < 100)
WAYS = {
    "run": "answers questions, as it is",
    "lora": "LoRA, rank 16 on all linear layers",
    "qlora": "the same over weights in 4 bits",
    "full": "all weights, in fp32 with bf16 copies",
}
"""In the order in which they are shown."""
METHODS = {"run": "zero_shot", "lora": "lora", "qlora": "qlora", "full": "full"}


@dataclass(frozen=True, slots=True)
class Size:
    params_b: float
    weights_gib: float
    """In bf16."""
    needs_gib: dict[str, float | None]
    """By way: to answer, and to train; None where it cannot be done on such a machine."""


@dataclass(frozen=True, slots=True)
class Table:
    machine: Evidence
    """Its memory."""
    tokens: int
    """Of the row that is counted with."""
    sizes: tuple[Size, ...]

    @property
    def have_gib(self) -> float:
        return number({"": self.machine}, "") or 0.0

    def fits(self, size: Size, way: str) -> bool:
        needs, to_score = size.needs_gib[way], size.needs_gib["run"]
        return needs is not None and to_score is not None and max(needs, to_score) <= self.have_gib

    def to_json(self) -> dict[str, Any]:
        return {
            "gpu_gib": self.have_gib,
            "how": self.machine.how,
            "tokens_per_example": self.tokens,
            "bases": [
                {
                    "params_b": size.params_b, "weights_gib": size.weights_gib,
                    **{way: {"gib": size.needs_gib[way], "fits": self.fits(size, way)} for way in WAYS},
                }
                for size in self.sizes
            ],
        }  # fmt: skip


def table(stated: Stated) -> Table:
    """For the machine that is stated, or this one; with rows of the length that is stated, or 512 tokens."""
    found = by_name(stated.evidence())
    if "gpu_gib" not in found:
        how = "measured: memory of this machine's largest GPU, or its free main memory where there is none"
        found["gpu_gib"] = Evidence("gpu_gib", round(machine.available_gib(), 2), "GiB", how)
    tokens = max(64, round(number(found, "tokens_per_example") or TYPICAL_ROW_TOKENS))
    device = "cuda" if on_gpu(found) else "cpu"
    return Table(found["gpu_gib"], tokens, tuple(_size(params_b, tokens, device) for params_b in SIZES_B))


def _size(params_b: float, tokens: int, device: str) -> Size:
    facts = shapes.typical_shape(params_b)
    needs: dict[str, float | None] = {}
    for way, method in METHODS.items():
        least = memory.Work(method, micro_batch_size=1, gradient_checkpointing=True, sequence_length=tokens, device=device)
        last = memory.stages(facts, least)[-1]  # of what is tuned, the training
        needs[way] = None if way == "qlora" and device == "cpu" else round(last.gib, 2)  # weights in 4 bits take a GPU
    weights = facts.params * facts.bytes_per_param / machine.GIB
    return Size(params_b, round(weights, 2), needs)
