"""What the training loop keeps between the forward and the backward pass, in bytes, tensor by tensor.

Counted as autograd does for a transformers decoder whose norms and attention are those of `blocks.py`, LoRA layers those of
`fused.py`, losses those of `cross_entropy.py`. For LoRA and full tuning the terms were compared with the list of tensors
that torch 2.13 saves in Llama and Gemma 3 blocks; none is fitted. Knows no stage and no machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters.bases import BaseFacts
from adapters.tuning.shapes import Norms, linear_layers

FP32 = 4
LOGITS_AT_ONCE = 2**26
"""As in `evaluation/cross_entropy.py`, which loads torch."""
CACHED_LOGITS = 2**20
SCORES_AT_ONCE, MOST_SCORES = 2**21, 2**26
"""As in `blocks.py`."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """How a backward pass goes through a block."""

    facts: BaseFacts
    norms: Norms
    bytes_per_number: float
    """Of what is computed in: 2 for bf16."""
    device: str
    length: int
    """Tokens of a row."""
    layers: str = "none"
    """Whose weights learn: `none` (gradients only pass through), `lora`, `linear` or `all`."""
    in_fp32: bool = False
    """Weights that learn are held in fp32 and computed with in fewer bits, so that residuals are fp32 too."""
    rank: int = 0
    targets: str = "all"
    is_dora: bool = False

    @property
    def scores(self) -> int:
        """Of attention, of one row."""
        return self.facts.heads * self.length**2

    @property
    def is_flash(self) -> bool:
        """Whether the attention that also keeps what came out of it is used."""
        return self.device == "cuda" or self.bytes_per_number != 2 or self.scores > MOST_SCORES


def of_block(tuned: Tuned) -> float:
    """Bytes a token that one block keeps."""
    facts, number = tuned.facts, tuned.bytes_per_number
    wide, narrow = facts.heads * facts.head_dim, facts.kv_heads * facts.head_dim
    attention = (wide + 2 * narrow) * number  # q, k, v
    reads_said = tuned.layers != "none" and tuned.targets != "mlp"  # o_proj learns from what attention says
    if tuned.is_flash or reads_said:
        attention += wide * number
    if tuned.is_flash:
        attention += FP32 * facts.heads  # a logsumexp a head
    feed_forward = 3 * facts.intermediate * number  # gate, its activation, up: factors of products
    before, after = min(tuned.norms.wide, 2), max(tuned.norms.wide - 2, 0)
    into_norms = before * of_residual(tuned) + after * facts.hidden * number
    if tuned.norms.heads:
        into_norms += (wide + narrow) * number
    return attention + feed_forward + into_norms + _into_linear(tuned)


def _into_linear(tuned: Tuned) -> float:
    """Bytes a token: what goes into a linear layer that learns, other than o_proj."""
    facts, number = tuned.facts, tuned.bytes_per_number
    hidden = facts.hidden * number
    if tuned.layers == "none":
        return 0.0
    # autocast makes a copy for each layer that reads; where nothing is cast, q, k and v share one, gate and up another
    copies = (3, 2) if tuned.in_fp32 or (tuned.is_dora and tuned.device == "cpu") else (1, 1)
    kept = {"attention": copies[0] * hidden, "mlp": copies[1] * hidden + facts.intermediate * number}
    chosen = sum(kept.values()) if tuned.targets == "all" else kept[tuned.targets]
    if tuned.layers == "lora":
        adapted = linear_layers(facts, tuned.targets)
        chosen += len(adapted) * tuned.rank * number
        if tuned.is_dora:  # scales what the base says and what the adapter says apart, and learns from both
            chosen += 2 * sum(outputs for _, outputs in adapted) * number
    return chosen


def of_residual(tuned: Tuned) -> float:
    """Bytes a token of what goes from block to block: all that checkpointing keeps of a block."""
    return tuned.facts.hidden * (FP32 if tuned.in_fp32 else tuned.bytes_per_number)


def in_work(tuned: Tuned, rows: int) -> float:
    """Bytes that a block of this many rows needs on top while its backward pass is made: gradients in and out of the mlp,
    or attention's scores, four times, where they are made anew."""
    number = tuned.bytes_per_number
    mlp = rows * tuned.length * (2 * tuned.facts.intermediate * number + 2 * FP32 * tuned.facts.hidden)
    scores = 0 if tuned.is_flash else min(rows * tuned.scores, max(tuned.scores, SCORES_AT_ONCE))
    return max(mlp, 4 * scores * number)


def forward_only(tuned: Tuned) -> float:
    """Bytes a token while one block works and nothing is kept: three factors of the mlp's product, or a norm's in fp32."""
    facts, number = tuned.facts, tuned.bytes_per_number
    return max(3 * facts.intermediate * number + facts.hidden * number, 3 * FP32 * facts.hidden) + facts.hidden * number


def let_go(tuned: Tuned) -> float:
    """Bytes a token that a block works with in the forward pass beside what it keeps."""
    dora = 2 * FP32 * sum(outputs for _, outputs in linear_layers(tuned.facts, tuned.targets)) if tuned.is_dora else 0
    return forward_only(tuned) + dora  # which scales in fp32 what base and adapter say, layer by layer


def of_losses(tuned: Tuned, positions: int) -> float:
    """Bytes while losses are made: hidden states and their gradients, and one slice of logits."""
    facts, number = tuned.facts, tuned.bytes_per_number
    slice_positions = min(positions, max(1, LOGITS_AT_ONCE // facts.vocab))
    logits = slice_positions * facts.vocab
    in_fp32 = FP32 * (min(CACHED_LOGITS, logits) if tuned.device == "cpu" else logits)
    kept = positions * facts.hidden * (2 * number + 2 * FP32)
    to_weight = 2 * facts.vocab * facts.hidden * number if tuned.layers == "all" else 0.0
    return kept + logits * number + in_fp32 + to_weight
