"""A base with soft tokens: a table of embeddings that stands in for the markers in its input, and is all that trains.

After Lester et al., 2021 (arXiv 2104.08691). Behaves as the base does towards the training loop, the losses and whoever
asks for answers. Knows no chat template, no file and no engine.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class SoftPrompt(nn.Module):
    def __init__(self, base: Any, embeddings: torch.Tensor, marker_id: int) -> None:
        """`embeddings`: (tokens, hidden), in the unit in which layers take them, which is not the embedding table's where
        the base scales it. Wherever the k-th `marker_id` of a row stands, the base reads the k-th of them."""
        super().__init__()
        self.embeddings = nn.Parameter(embeddings)
        self.base = base
        self.marker_id = marker_id

    def forward(self, input_ids: torch.Tensor, **more: Any) -> Any:
        """`input_ids`: (rows, length), padded on the right; everything else goes to the base."""
        return self.base(inputs_embeds=self.spliced(input_ids), **more)

    def generate(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **more: Any) -> torch.Tensor:
        """(rows, length + new): the given ids, padded on the left, and what the base goes on with."""
        made = self.base.generate(inputs_embeds=self.spliced(input_ids), attention_mask=attention_mask, **more)
        return torch.cat([input_ids, made], dim=1)

    def get_output_embeddings(self) -> Any:
        """The base's output layer, which losses may be taken at."""
        return self.base.get_output_embeddings()

    def spliced(self, input_ids: torch.Tensor) -> torch.Tensor:
        """(rows, length, hidden), in the base's dtype; differentiable towards the soft tokens."""
        soft = input_ids == self.marker_id
        words: torch.Tensor = self.base.get_input_embeddings()(input_ids.masked_fill(soft, 0))
        place = (soft.cumsum(dim=1) - 1).clamp(min=0)
        return torch.where(soft.unsqueeze(-1), self.embeddings.to(words.dtype)[place], words)


def embedded(base: Any, ids: list[int]) -> torch.Tensor:
    """(ids, hidden), fp32: what the base's first layer reads for these tokens."""
    table = base.get_input_embeddings()
    with torch.no_grad():
        found: torch.Tensor = table(torch.tensor(ids, device=table.weight.device)).float()
    return found
