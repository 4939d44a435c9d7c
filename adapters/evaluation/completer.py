"""Who answers: one contract for whatever can be asked, and the local model behind it.

Knows no right answers; the scorecard does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from adapters.conversation import WireMessage
from adapters.data.batches import by_length
from adapters.data.tokens import prompt_ids, stop_ids

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

ROWS_AT_ONCE = 16


class Completer(Protocol):
    def __call__(self, conversations: Sequence[list[WireMessage]]) -> list[str]:
        """One answer for each conversation, in their order; templates are already rendered into them."""


class LocalCompleter:
    """Greedy answers of a model in this process, many at once."""

    def __init__(
        self, model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, *, max_new_tokens: int,
        between: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.model, self.tokenizer, self.max_new_tokens, self.between = model, tokenizer, max_new_tokens, between

    def __call__(self, conversations: Sequence[list[WireMessage]]) -> list[str]:
        self.model.eval()
        prompts = [prompt_ids(self.tokenizer, said) for said in conversations]
        answers = [""] * len(prompts)
        for group in by_length([len(prompt) for prompt in prompts], ROWS_AT_ONCE):
            self.between()
            for index, answer in zip(group, self._answer([prompts[index] for index in group]), strict=True):
                answers[index] = answer
        return answers

    def _answer(self, prompts: list[list[int]]) -> list[str]:
        import torch
        from transformers import GenerationConfig

        stops = stop_ids(self.tokenizer)
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(stops, default=0)
        longest = max(map(len, prompts))
        device = next(self.model.parameters()).device
        # on the left, so that every answer starts in the same column
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
        seen = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        config = GenerationConfig(
            do_sample=False, max_new_tokens=self.max_new_tokens, eos_token_id=sorted(stops) or None, pad_token_id=pad
        )
        with torch.inference_mode():
            made = self.model.generate(input_ids=ids, attention_mask=seen, generation_config=config)  # type: ignore[operator]
        return [text.strip() for text in self.tokenizer.batch_decode(made[:, longest:], skip_special_tokens=True)]
