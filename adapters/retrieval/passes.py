"""The encoder's work in its two steps: whoever batches sorts by tokens, and tokenizes one batch while another is encoded.

Gives what `Encoder.encode` gives, to a cosine of .999 where it is asked to be fast. Knows no queue and no index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adapters.errors import InvalidInput

if TYPE_CHECKING:
    from adapters.retrieval.encoder import Encoder, Vectors


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A text as the encoder reads it."""

    ids: Sequence[int]
    """With the tokens around it; cut to the encoder's window."""
    count: int
    """Before it was cut."""


class Passes:
    """Each of the two steps may run in a thread of its own, but neither in two at once."""

    def __init__(self, encoder: Encoder, *, fast: bool = False) -> None:
        """`fast`: in bf16 where the processor computes in it, which takes about half the time and changes the encoder."""
        model: Any = encoder.module
        if fast:
            from adapters.tuning.device import dtype

            model.to(dtype())
        self._model = model
        self._before = model.prompts.get(model.default_prompt_name or "", "")
        self.width = encoder.width
        self.window = encoder.max_tokens
        """Most tokens that are read of a text, those around it included."""

    def tokenize(self, texts: Sequence[str]) -> list[Tokenized]:
        said = [f"{self._before}{text}" for text in texts]
        whole = self._model.tokenizer(said, truncation=False, return_attention_mask=False, verbose=False)["input_ids"]
        return [
            Tokenized(ids if len(ids) <= self.window else self._cut(text), len(ids))
            for text, ids in zip(said, whole, strict=True)
        ]

    def text(self, ids: Sequence[int]) -> str:
        """What ids of the encoder's own vocabulary stand for. Raises InvalidInput for one that it does not have."""
        wrong = next((number for number in ids if not 0 <= number < len(self._model.tokenizer)), None)
        if wrong is not None:
            raise InvalidInput(
                f"{wrong} is no token of this encoder's, which has {len(self._model.tokenizer):,}", param="input"
            )
        return str(self._model.tokenizer.decode(list(ids), skip_special_tokens=True))

    def encode(self, batch: Sequence[Tokenized]) -> Vectors:
        """float32 of shape (len(batch), width), rows of length 1: all in one pass, padded to the longest of them."""
        import torch

        tokenizer, longest = self._model.tokenizer, max(len(text.ids) for text in batch)
        ids = np.full((len(batch), longest), tokenizer.pad_token_id or 0, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(batch):
            place = slice(longest - len(text.ids), None) if tokenizer.padding_side == "left" else slice(len(text.ids))
            ids[row, place], mask[row, place] = text.ids, 1
        device = next(self._model.parameters()).device
        with torch.inference_mode():
            features = {"input_ids": torch.from_numpy(ids).to(device), "attention_mask": torch.from_numpy(mask).to(device)}
            vectors = torch.nn.functional.normalize(self._model(features)["sentence_embedding"].float(), dim=-1)
        return np.ascontiguousarray(vectors.cpu().numpy())

    def _cut(self, text: str) -> list[int]:
        return list(self._model.tokenizer(text, truncation=True, max_length=self.window)["input_ids"])
