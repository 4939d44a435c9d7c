"""A base that answers hundreds of prompts at once: greedy, padded on the left, each step replayed as one CUDA graph.

What a small model takes for a token is almost all launching of kernels, and a graph launches them together. Bases that look
back through a window, and soft prompts, go through the product's own completer. Knows no task.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from adapters.conversation import WireMessage
from adapters.data import batches
from adapters.data.tokens import Encoded, prompt_ids, stop_ids
from adapters.evaluation import completer
from adapters.evaluation.general import MEASURED
from adapters.evaluation.loss import measure, nats_per_token

if TYPE_CHECKING:
    import torch

    from adapters.bases import BaseFacts

MOST_ROWS = 256
MOST_TOKENS = {"cuda": 2**16, "cpu": 2**13}
"""Of the prompts in a batch, padding included; what is kept of a token is some tens of KiB in a model of this size."""
CHECKED_EVERY = 8
"""Steps between two looks at whether all answers have ended, each of which waits for the device."""

Conversations = Sequence[list[WireMessage]]


@dataclass
class Base:
    """One base, loaded once and never changed; what is tuned is a copy."""

    name: str
    folder: Path
    facts: BaseFacts
    tokenizer: Any
    model: Any
    graphs: bool = False

    @cached_property
    def general(self) -> list[Encoded]:
        """What it says of itself to general prompts."""
        from adapters.evaluation.speaking import own_answers

        return [row for row in own_answers(self.model, self.tokenizer, MEASURED, longest=32) if row.supervised]

    @cached_property
    def general_nats(self) -> float:
        """How surprised it is by that, in nats a token."""
        return nats_per_token(measure(self.model, self.general, self.model.device))

    @property
    def has_window(self) -> bool:
        return getattr(self.model.config.get_text_config(), "sliding_window", None) is not None


def open_base(name: str, folder: Path, *, graphs: bool) -> Base:
    """With graphs where there is a GPU, unless they answer otherwise than the steps one by one."""
    import torch

    from adapters import bases
    from adapters.tuning import device

    model = bases.open_model(folder, device.dtype()).to(device.device()).eval()
    base = Base(name, folder, bases.facts(folder), bases.open_tokenizer(folder), model)
    if graphs and torch.cuda.is_available() and not base.has_window:
        base.graphs = _graphs_agree(base)
    return base


def _graphs_agree(base: Base) -> bool:
    asked = [prompt_ids(base.tokenizer, [{"role": "user", "content": text}]) for text in MEASURED[:8]]
    try:
        apart, together = (greedy(base.model, base.tokenizer, asked, 24, graphs=graphs) for graphs in (False, True))
    except RuntimeError as error:
        print(f"no graphs here: {error}", file=sys.stderr, flush=True)
        return False
    if apart != together:
        print("no graphs here: they answer otherwise", file=sys.stderr, flush=True)
    return apart == together


def answers(base: Base, model: Any, said: Conversations, most: int) -> list[str]:
    """Texts, in the order of the conversations, of at most so many tokens."""
    if base.has_window or not hasattr(model, "config"):
        return through_product(model, base.tokenizer, said, most)
    prompts = [prompt_ids(base.tokenizer, one) for one in said]
    made = [list[int]()] * len(prompts)
    kind = next(model.parameters()).device.type
    with patch.object(batches, "TOKENS_AT_ONCE", MOST_TOKENS[kind]):
        groups = batches.by_length([len(prompt) for prompt in prompts], MOST_ROWS)
    for group in groups:
        found = greedy(model, base.tokenizer, [prompts[row] for row in group], most, graphs=base.graphs)
        for row, tokens in zip(group, found, strict=True):
            made[row] = tokens
    return [text.strip() for text in base.tokenizer.batch_decode(made, skip_special_tokens=True)]


def through_product(model: Any, tokenizer: Any, said: Conversations, most: int, choices: Sequence[str] = ()) -> list[str]:
    """As tuning asks, only more at once."""
    kind = next(model.parameters()).device.type
    more = patch.object(completer, "ROWS_AT_ONCE", MOST_ROWS), patch.object(batches, "TOKENS_AT_ONCE", MOST_TOKENS[kind])
    with more[0], more[1]:
        return completer.LocalCompleter(model, tokenizer, max_new_tokens=most, choices=choices)(said)


def greedy(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], most: int, *, graphs: bool) -> list[list[int]]:
    """The tokens of each answer without the one that stopped it."""
    import torch

    stops = sorted(stop_ids(tokenizer))
    model.eval()
    with torch.inference_mode():
        step = _Step(model, prompts, most, stops)
        step()  # also warms up what a graph may not do first
        graph = None
        if graphs and most > 2:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
        for number in range(2, most):
            if (number - 2) % CHECKED_EVERY == 0 and step.ended.all():
                break
            if graph is None:
                step()
            else:
                graph.replay()
        made = step.made.tolist()
    return [row[: next((at for at, token in enumerate(row) if token in stops), len(row))] for row in made]


class _Step:
    """The state of a batch at fixed places in memory; each call adds a token to every answer."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], most: int, stops: Sequence[int]) -> None:
        import torch

        device = next(model.parameters()).device
        longest, self.model = max(map(len, prompts)), model
        width = -(-(longest + most) // 8) * 8  # attention's kernels want aligned masks
        ids = torch.tensor([[stops[0]] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
        read = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        said = model(
            input_ids=ids, attention_mask=read, position_ids=(read.cumsum(1) - 1).clamp(min=0), use_cache=True, logits_to_keep=1
        )
        self.stops = torch.tensor(stops, device=device)
        self.token = said.logits[:, -1].argmax(-1, keepdim=True)
        self.ended = (self.token == self.stops).any(1, keepdim=True)
        self.position = read.sum(1, keepdim=True)
        self.seen = torch.zeros(len(prompts), 1, 1, width, dtype=torch.bool, device=device)
        self.seen[:, 0, 0, :longest] = read.bool()
        self.cache = _Columns(said.past_key_values, longest, width)
        self.made = torch.full((len(prompts), most), stops[0], device=device)
        self.made[:, :1] = self.token
        self.place = torch.ones(1, dtype=torch.long, device=device)

    def __call__(self) -> None:
        import torch

        self.seen.index_fill_(3, self.cache.column, True)
        logits = self.model(
            input_ids=self.token, attention_mask=self.seen, position_ids=self.position, past_key_values=self.cache,
            use_cache=True,
        ).logits  # fmt: skip
        found = logits[:, -1].argmax(-1, keepdim=True)
        self.token.copy_(torch.where(self.ended, self.stops[:1], found))
        self.ended.logical_or_((self.token == self.stops).any(1, keepdim=True))
        self.made.index_copy_(1, self.place, self.token)
        for counter in (self.place, self.position, self.cache.column):
            counter.add_(1)


class _Columns:
    """Keys and values of all layers, a column a token, of which the next one is written; as a model's cache, as far as models
    with whole attention ask one."""

    def __init__(self, read: Any, longest: int, width: int) -> None:
        import torch

        self.layers: list[list[torch.Tensor]] = []
        for layer in read.layers:
            both = []
            for name in ("keys", "values"):
                part = getattr(layer, name)
                whole = part.new_zeros(*part.shape[:2], width, part.shape[3])
                whole[:, :, :longest] = part
                setattr(layer, name, None)
                both.append(whole)
            self.layers.append(both)
        self.column = torch.tensor([longest], device=self.layers[0][0].device)

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        for whole, part in zip(self.layers[layer_idx], (keys, values), strict=True):
            whole.index_copy_(2, self.column, part)
        return self.layers[layer_idx][0], self.layers[layer_idx][1]
