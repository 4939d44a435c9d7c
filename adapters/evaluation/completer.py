"""Who answers: one contract for whatever can be asked, and the local model behind it.

Knows no right answers; the scorecard does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from adapters.conversation import WireMessage
from adapters.data.batches import by_length, common_start
from adapters.data.tokens import prompt_ids, stop_ids
from adapters.evaluation.choices import Choices

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

ROWS_AT_ONCE = 16
FEWEST_SHARED_TOKENS = 64
"""That are worth being read apart from the rest."""


class Completer(Protocol):
    def __call__(self, conversations: Sequence[list[WireMessage]]) -> list[str]:
        """One answer for each conversation, in their order; templates are already rendered into them."""


class LocalCompleter:
    """Greedy answers of a model in this process, many at once; of nothing but `choices` where there are any."""

    def __init__(
        self, model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, *, max_new_tokens: int,
        between: Callable[[], None] = lambda: None, choices: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.model, self.tokenizer, self.max_new_tokens, self.between = model, tokenizer, max_new_tokens, between
        self.choices = Choices(tokenizer, choices) if choices else None

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
        shared = self._shared(prompts)
        device = next(self.model.parameters()).device
        # before what differs, so that every answer starts in the same column
        padded = [prompt[:shared] + [pad] * (longest - len(prompt)) + prompt[shared:] for prompt in prompts]
        marks = [[1] * shared + [0] * (longest - len(prompt)) + [1] * (len(prompt) - shared) for prompt in prompts]
        ids, seen = torch.tensor(padded, device=device), torch.tensor(marks, device=device)
        config = GenerationConfig(
            do_sample=False, eos_token_id=sorted(stops) or None, pad_token_id=pad,
            max_new_tokens=self.choices.most_tokens if self.choices else self.max_new_tokens,
        )  # fmt: skip
        more: dict[str, Any] = {}
        if (choices := self.choices) is not None:
            more["prefix_allowed_tokens_fn"] = lambda row, said: choices.next(said[longest:].tolist())
        with torch.inference_mode():
            if shared:
                more["past_key_values"] = self._read_once(ids[:1, :shared], len(prompts))
            made = self.model.generate(  # type: ignore[operator]
                input_ids=ids, attention_mask=seen, generation_config=config, **more
            )
        if choices is not None:
            return [choices.answer(row) for row in made[:, longest:].tolist()]
        return [text.strip() for text in self.tokenizer.batch_decode(made[:, longest:], skip_special_tokens=True)]

    def _shared(self, prompts: list[list[int]]) -> int:
        """How many tokens at the start of all prompts are read once for all of them. None where a model looks back no
        further than a window, which the gap of padding would stand in."""
        config: Any = getattr(self.model, "config", None)
        if config is None or getattr(config.get_text_config(), "sliding_window", None) is not None:
            return 0  # what has no config reads other tokens than it is given
        shared = min(common_start(prompts), min(map(len, prompts)) - 1)  # something must be left to answer to
        return shared if shared >= FEWEST_SHARED_TOKENS else 0

    def _read_once(self, ids: torch.Tensor, rows: int) -> Any:
        cache = self.model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(rows)
        return cache
