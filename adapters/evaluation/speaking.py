"""What a model says of itself to some prompts, as rows that its own loss, or another model's, can be taken on.

Knows no prompts; the callers bring them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from adapters.data.tokens import IGNORED, Encoded, prompt_ids, stop_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROMPTS_AT_ONCE = 24


def own_answers(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], *, longest: int, sampled_with: int | None = None,
    between: Callable[[], None] = lambda: None,
) -> list[Encoded]:  # fmt: skip
    """One row a prompt, its answer learned, the stop token with it where the model made one.

    Greedy; or, with a seed, sampled from the model's own distribution (temperature 1).
    """
    import torch

    model.eval()
    rows: list[Encoded] = []
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        if sampled_with is not None:
            torch.manual_seed(sampled_with)
        for start in range(0, len(prompts), PROMPTS_AT_ONCE):
            between()
            asked = [
                prompt_ids(tokenizer, [{"role": "user", "content": text}]) for text in prompts[start : start + PROMPTS_AT_ONCE]
            ]
            for ids, answer in zip(asked, _generate(model, tokenizer, asked, longest, sampled_with is not None), strict=True):
                size = len(tokenizer.decode(answer, skip_special_tokens=True).encode())
                rows.append(Encoded(ids + answer, [IGNORED] * len(ids) + answer, len(rows) + 1, size))
    return rows


def _generate(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], longest: int, sample: bool
) -> list[list[int]]:
    import torch
    from transformers import GenerationConfig

    stops = stop_ids(tokenizer)
    pad = min(stops, default=0)
    config = GenerationConfig(
        do_sample=sample,
        max_new_tokens=longest,
        eos_token_id=sorted(stops) or None,
        pad_token_id=pad,
        top_k=0 if sample else None,
    )
    width = max(map(len, prompts))
    device = next(model.parameters()).device
    # on the left, so that every answer starts in the same column
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
    seen = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    made = model.generate(input_ids=ids, attention_mask=seen, generation_config=config)[:, width:].tolist()
    ended = []
    for answer in made:
        end = next((at + 1 for at, token in enumerate(answer) if token in stops), len(answer))
        ended.append(answer[:end])
    return ended
