"""Will it fit? The peak memory of each method from a base's shape, by published formulas; no torch, no weights read.

The formulas give 36.7 and 18.8 GiB where the PEFT benchmark measured 36.2 and 18.7 (Llama-3.2-3B, full and LoRA,
batch 4, 768 tokens). Knows no data and no recipe's learning part.
"""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adapters.bases import BaseFacts
from adapters.errors import InvalidInput, WillNotFit

GIB = 2**30
RUNTIME_GIB = 1.0
"""Device context, kernels and fragmentation: 0.7 to 1.5 GB are reported."""
ENCODER_GIB = 0.2
"""all-MiniLM-L6-v2 in fp32 (22.7 M weights) and a batch of passages."""


@dataclass(frozen=True, slots=True)
class Estimate:
    gib: float
    parts: dict[str, float]
    """GiB by what takes it; they sum up to `gib`."""


@dataclass(frozen=True, slots=True)
class _Ask:
    facts: BaseFacts
    rank: int
    micro_batch_size: int
    sequence_length: int
    bytes_per_weight: float

    @property
    def tokens(self) -> int:
        return self.micro_batch_size * self.sequence_length


def lora_params_per_rank(facts: BaseFacts) -> int:
    """Weights one rank costs, all linear layers adapted: the sum of inputs and outputs of each (Llama-3.1-8B: 2,621,440)."""
    hidden, wide, narrow = facts.hidden, facts.heads * facts.head_dim, facts.kv_heads * facts.head_dim
    attention = 2 * (hidden + wide) + 2 * (hidden + narrow)
    feed_forward = 3 * (hidden + facts.intermediate)
    return facts.layers * (attention + feed_forward)


def _weights(ask: _Ask) -> float:
    return ask.facts.params * ask.bytes_per_weight


def _activations(ask: _Ask) -> float:
    """34 · s · b · h bytes a layer: 16 bits, fused attention, nothing recomputed (Korthikanti et al., arXiv 2205.05198)."""
    return 34 * ask.tokens * ask.facts.hidden * ask.facts.layers


def _logits(ask: _Ask) -> float:
    """Three fp32 copies (logits, softmax, gradient) at every position: a bound, as the loop makes only those it learns from."""
    return 3 * 4 * ask.tokens * ask.facts.vocab


def _kv_cache(ask: _Ask) -> float:
    """2 · layers · kv heads · head dim · 2 bytes a token (Llama-3.1-8B: 128 KiB)."""
    return 2 * ask.facts.layers * ask.facts.kv_heads * ask.facts.head_dim * 2 * ask.tokens


def _one_layer(ask: _Ask) -> float:
    """A forward pass that keeps no gradients holds one layer's work at a time."""
    return 34 * ask.tokens * ask.facts.hidden


def _inference(ask: _Ask) -> dict[str, float]:
    last = 4 * ask.micro_batch_size * ask.facts.vocab
    return {"weights": _weights(ask), "kv_cache": _kv_cache(ask), "activations": _one_layer(ask) + last}


def _rag(ask: _Ask) -> dict[str, float]:
    return _inference(ask) | {"encoder": ENCODER_GIB * GIB}


def _head(ask: _Ask) -> dict[str, float]:
    """A frozen forward pass; the head itself (hidden x classes, 16 bytes each with its Adam states) is below a MiB a class."""
    return {"weights": _weights(ask), "activations": _one_layer(ask), "head": 16 * ask.facts.hidden * 1000}


def _prompt_tuning(ask: _Ask) -> dict[str, float]:
    """Gradients flow through the whole model to at most 100 virtual tokens."""
    trained = 16 * 100 * ask.facts.hidden
    return {"weights": _weights(ask), "trained": trained, "activations": _activations(ask), "logits": _logits(ask)}


def _lora(ask: _Ask) -> dict[str, float]:
    """16 bytes a trained weight: fp32 weight, gradient and two Adam moments."""
    trained = 16 * ask.rank * lora_params_per_rank(ask.facts)
    return {"weights": _weights(ask), "trained": trained, "activations": _activations(ask), "logits": _logits(ask)}


def _full(ask: _Ask) -> dict[str, float]:
    """Gradients and two Adam moments in the weights' own dtype: 8 bytes a weight in pure bf16 (LLaMA-Factory: 60 GB for 7B)."""
    return {
        "weights": _weights(ask), "gradients": _weights(ask), "optimiser": 2 * _weights(ask),
        "activations": _activations(ask), "logits": _logits(ask),
    }  # fmt: skip


FORMULAS: dict[str, Callable[[_Ask], dict[str, float]]] = {
    "zero_shot": _inference,
    "few_shot": _inference,
    "many_shot": _inference,
    "rag": _rag,
    "head": _head,
    "prompt_tuning": _prompt_tuning,
    "lora": _lora,
    "full": _full,
    "continued_pretraining": _full,
}


def estimate(
    facts: BaseFacts, method: str, *, rank: int = 16, micro_batch_size: int = 8, sequence_length: int = 512,
    bytes_per_weight: float = 2.0,
) -> Estimate:  # fmt: skip
    """Peak memory of making and using an adapted model by this method, in GiB.

    A sum (`rag+lora`) needs what its most demanding member needs, part by part. For methods that do not train,
    `micro_batch_size` is the number of conversations at once. Raises InvalidInput for an unknown method.
    """
    ask = _Ask(facts, rank, micro_batch_size, sequence_length, bytes_per_weight)
    parts: dict[str, float] = {"runtime": RUNTIME_GIB}
    for name in method.split("+"):
        if name not in FORMULAS:
            raise InvalidInput(
                f"'{name}' is no method; known: {', '.join(FORMULAS)}, and sums such as rag+lora", param="method"
            )
        for part, size_bytes in FORMULAS[name](ask).items():
            parts[part] = max(parts.get(part, 0.0), size_bytes / GIB)
    return Estimate(sum(parts.values()), parts)


def check_fits(
    facts: BaseFacts, method: str, *, rank: int = 16, micro_batch_size: int = 8, sequence_length: int = 512,
    bytes_per_weight: float = 2.0, available: float | None = None,
) -> Estimate:  # fmt: skip
    """The estimate, or WillNotFit with the numbers and the largest smaller setting that fits. `available` in GiB."""
    have = available_gib() if available is None else available

    def at(method: str, rank: int, rows: int) -> Estimate:
        return estimate(
            facts, method, rank=rank, micro_batch_size=rows, sequence_length=sequence_length, bytes_per_weight=bytes_per_weight
        )

    needed = at(method, rank, micro_batch_size)
    if needed.gib <= have:
        return needed
    halves = [micro_batch_size >> shift for shift in range(1, micro_batch_size.bit_length())]
    smaller = [(method, rank, rows) for rows in halves]
    smaller += [(method, min(rank, 8), 1), ("lora", min(rank, 8), 1), ("few_shot", rank, 1)]
    fitting = next((ask for ask in smaller if at(*ask).gib <= have), None)
    if fitting is None:
        advice = "no method fits with this base here: take a smaller base or a larger machine"
    else:
        changed = {
            "method": (method, fitting[0]),
            "rank": (rank, fitting[1]),
            "micro_batch_size": (micro_batch_size, fitting[2]),
        }
        knobs = ", ".join(f"{knob} {new}" for knob, (old, new) in changed.items() if new != old)
        advice = f"{knobs} would need {at(*fitting).gib:.1f} GiB and fit"
    raise WillNotFit(
        f"{method} on this base needs about {needed.gib:.1f} GiB ({sequence_length} tokens, {micro_batch_size} rows at once), "
        f"and {have:.1f} GiB are there; {advice}",
        param="method" if fitting is None or fitting[0] != method else "micro_batch_size",
    )


SHAPES: dict[float, tuple[int, int, int, int, int, int, int, bool]] = {
    # billions: hidden, layers, vocab, heads, kv heads, head dim, intermediate, tied; from each model's config.json
    0.135: (576, 30, 49_152, 9, 3, 64, 1536, True),  # SmolLM2-135M
    0.36: (960, 32, 49_152, 15, 5, 64, 2560, True),  # SmolLM2-360M
    0.494: (896, 24, 151_936, 14, 2, 64, 4864, True),  # Qwen2.5-0.5B
    1.24: (2048, 16, 128_256, 32, 8, 64, 8192, True),  # Llama-3.2-1B
    3.21: (3072, 28, 128_256, 24, 8, 128, 8192, True),  # Llama-3.2-3B
    8.03: (4096, 32, 128_256, 32, 8, 128, 14_336, False),  # Llama-3.1-8B
    14.8: (5120, 48, 152_064, 40, 8, 128, 13_824, False),  # Qwen2.5-14B
    32.8: (5120, 64, 152_064, 40, 8, 128, 27_648, False),  # Qwen2.5-32B
    70.6: (8192, 80, 128_256, 64, 8, 128, 28_672, False),  # Llama-3.1-70B
    405.9: (16_384, 126, 128_256, 128, 8, 128, 53_248, False),  # Llama-3.1-405B
}


def typical_shape(params_b: float) -> BaseFacts:
    """The shape of the published decoder nearest in size, with this many billions of parameters."""
    if not 0.001 <= params_b <= 10_000:
        raise InvalidInput(f"params_b must be from 0.001 to 10000 (billions), not {params_b}", param="params_b")
    nearest = min(SHAPES, key=lambda size: abs(math.log(size / params_b)))
    hidden, layers, vocab, heads, kv_heads, head_dim, intermediate, tied = SHAPES[nearest]
    return BaseFacts(
        params=round(params_b * 1e9), hidden=hidden, layers=layers, vocab=vocab, heads=heads, kv_heads=kv_heads,
        head_dim=head_dim, intermediate=intermediate, context=8192, tied=tied, bytes_per_param=2.0,
        digest=f"typical shape of {params_b:g} B parameters",
    )  # fmt: skip


def available_gib() -> float:
    """Memory of the largest GPU here, in GiB; without a GPU, main memory that is free, within the container's limit."""
    return _gpu_gib() or _ram_gib()


def _gpu_gib() -> float | None:
    argv = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    sizes_mib = [float(line) for line in said.split() if line.replace(".", "", 1).isdigit()]
    return max(sizes_mib) / 1024 if sizes_mib else None


def _ram_gib() -> float:
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():  # not Linux: all there is, as free memory is told differently everywhere
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    said = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    free_gib = int(said["MemAvailable"].split()[0]) / 2**20
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (bound := limit.read_text().strip()).isdigit():
        return min(free_gib, int(bound) / GIB)
    return free_gib
