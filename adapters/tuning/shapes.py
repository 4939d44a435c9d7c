"""What a decoder is made of, as far as memory goes: sizes of published ones, its linear layers, its normalisations.

No torch, no weights read. Knows no method.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from adapters.bases import BaseFacts, tensor_header
from adapters.errors import InvalidInput

PUBLISHED: dict[float, tuple[int, int, int, int, int, int, int, bool]] = {
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
NORM = re.compile(r"layers?\.0\..*norm[^.]*\.weight$")


@dataclass(frozen=True, slots=True)
class Norms:
    """How often a block normalises: what goes into each normalisation is kept in fp32 for the backward pass."""

    wide: int = 2
    """Over the whole hidden width: 2 in Llama, 4 in Gemma 3."""
    heads: bool = False
    """Over each head of queries and keys besides, as Gemma 3 and Qwen 3 do."""


def typical_shape(params_b: float) -> BaseFacts:
    """The shape of the published decoder nearest in size, with this many billions of parameters."""
    if not 0.001 <= params_b <= 10_000:
        raise InvalidInput(f"params_b must be from 0.001 to 10000 (billions), not {params_b}", param="params_b")
    nearest = min(PUBLISHED, key=lambda size: abs(math.log(size / params_b)))
    hidden, layers, vocab, heads, kv_heads, head_dim, intermediate, tied = PUBLISHED[nearest]
    return BaseFacts(
        params=round(params_b * 1e9), hidden=hidden, layers=layers, vocab=vocab, heads=heads, kv_heads=kv_heads,
        head_dim=head_dim, intermediate=intermediate, context=8192, tied=tied, bytes_per_param=2.0,
        digest=f"typical shape of {params_b:g} B parameters",
    )  # fmt: skip


def norms(folder: Path) -> Norms:
    """Counted in the first block, from the safetensors headers."""
    found = {
        tensor: described["shape"]
        for file in sorted(folder.glob("*.safetensors"))
        for tensor, described in tensor_header(file).items()
        if NORM.search(tensor)
    }
    wide = sum("q_norm" not in tensor and "k_norm" not in tensor for tensor in found)
    return Norms(wide or 2, any("q_norm" in tensor for tensor in found))


def linear_layers(facts: BaseFacts, targets: str = "all") -> list[tuple[int, int]]:
    """(inputs, outputs) of the linear layers of one block: those of attention, of the mlp, or all."""
    hidden, wide, narrow = facts.hidden, facts.heads * facts.head_dim, facts.kv_heads * facts.head_dim
    attention = [(hidden, wide), (hidden, narrow), (hidden, narrow), (wide, hidden)]
    mlp = [(hidden, facts.intermediate), (hidden, facts.intermediate), (facts.intermediate, hidden)]
    return {"attention": attention, "mlp": mlp}.get(targets, attention + mlp)


def lora_params_per_rank(facts: BaseFacts, targets: str = "all") -> int:
    """Weights one rank costs: the sum of inputs and outputs of each adapted layer (Llama-3.1-8B, all: 2,621,440)."""
    return facts.layers * sum(inputs + outputs for inputs, outputs in linear_layers(facts, targets))


def linear_params(facts: BaseFacts) -> int:
    """Weights of all linear layers in blocks; the output layer is not among them."""
    return facts.layers * sum(inputs * outputs for inputs, outputs in linear_layers(facts))
