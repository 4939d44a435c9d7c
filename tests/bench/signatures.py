"""Adapters that can be told apart by what they say, made by arithmetic: each answers every question with its own word.

Full-size PEFT files (rank 8 on every linear layer), of which only the last down_proj's B is not zero: it pushes the
residual stream towards one token, far enough that nothing else decides. Knows no engine and no registry.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters import bases
from adapters.adapted_model import AdapterRef
from adapters.data.tokens import prompt_ids
from adapters.evaluation.probe import Probe, ProbeRow
from adapters.registry import WEIGHTS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

RANK = 8
SAID = 16
"""Repetitions of the word for which the effect is computed; longer answers were not looked at."""
PUSH = 10.0
"""How many times longer than the residual stream the push is, where it is weakest."""
PROMPTS = tuple(f"Name something from the {place}." for place in (
    "sea", "forest", "kitchen", "desert", "office", "garden", "city", "river", "museum", "school", "market", "station",
    "mountain", "village", "harbour", "theatre",
))  # fmt: skip
"""What the adapters are asked; for these the effect is computed."""

_MODULES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
            "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signature:
    token: int
    word: str
    """What the token decodes to, its leading space included: the whole answer is this, again and again."""
    folder: Path
    """A PEFT folder."""
    digest: str
    """sha256 of the weights, 64 hex digits."""
    probe: Probe

    @property
    def name(self) -> str:
        return f"says-{self.word.strip()}"

    @property
    def ref(self) -> AdapterRef:
        return AdapterRef("lora", self.digest, RANK)

    def said(self, text: str) -> bool:
        """Whether `text`, of any length up to SAID tokens, is what this adapter alone would say."""
        return bool(text) and text == (self.word * SAID)[: len(text)] and len(text) % len(self.word) == 0


def make(count: int, folder: Path, base: Path) -> list[Signature]:
    """`count` adapters for the base in the folder `base`, each a PEFT folder under `folder` (SmolLM2: 4.9 MB each)."""
    import torch

    model, tokenizer = bases.open_model(base, torch.bfloat16).eval(), bases.open_tokenizer(base)
    words = _words(tokenizer, model.config.vocab_size)
    prompts = [prompt_ids(tokenizer, [{"role": "user", "content": prompt}]) for prompt in PROMPTS]
    with torch.no_grad():
        tokens, directions = _best_tokens(model, torch.tensor(list(words)), count)
        inputs, stream = _activations(model, prompts, tokens)
        row, push = _reader(inputs, stream)
        pushes = inputs @ row * push
        _check(model, tokens, directions, pushes, stream)
        probes = _probes(model, prompts, tokens, directions, pushes, stream)
        return list(_written(model, folder, words, probes, row, directions * push))


def _words(tokenizer: Any, vocab: int) -> dict[int, str]:
    """Tokens that are a plain lower-case word with its space before it."""
    texts = ((token, tokenizer.decode([token])) for token in range(vocab))
    return {token: text for token, text in texts if re.fullmatch(r" [a-z]{4,}", text)}


def _best_tokens(model: PreTrainedModel, words: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens that win most clearly if the residual stream points at them, and these directions (root mean square 1).

    The logits are (stream / rms(stream) * g) @ E.T, so the direction of token t is g * (E[t] - mean of E).
    """
    import torch

    words = words[:: max(1, len(words) // (4 * count))]  # four to choose from each: all 20,000 would take 4 GB
    head, gain = model.get_output_embeddings().weight.float(), model.model.norm.weight.float()
    directions = gain * (head[words] - head.mean(0))
    directions /= directions.square().mean(-1, keepdim=True).sqrt()
    logits = (directions * gain) @ head.T
    rows = torch.arange(len(words))
    own = logits[rows, words].clone()
    logits[rows, words] = -torch.inf
    best = (own - logits.amax(-1)).topk(count).indices
    return words[best], directions[best]


def _activations(
    model: PreTrainedModel, prompts: Sequence[list[int]], tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the last down_proj reads (n, intermediate) and the residual stream after it (n, hidden), wherever a word is
    chosen: at each prompt's end, then after 1 to SAID - 1 repetitions of the word (a sample of the words).

    The last layer's output enters no other position's keys and values, so the base's own activations are exact here.
    """
    import torch

    read: dict[str, torch.Tensor] = {}
    layer = model.model.layers[-1]
    hooks = [
        layer.mlp.down_proj.register_forward_pre_hook(lambda _, given: read.update(inputs=given[0].float())),
        model.model.norm.register_forward_pre_hook(lambda _, given: read.update(stream=given[0].float())),
    ]
    parts = []
    sample = tokens[torch.linspace(0, len(tokens) - 1, len(prompts)).long()]
    for asked, token in zip(prompts, sample, strict=True):
        ids = torch.cat([torch.tensor(asked), token.expand(SAID - 1)])
        model(input_ids=ids[None])
        parts.append((read["inputs"][0, len(asked) - 1 :], read["stream"][0, len(asked) - 1 :]))
    for hook in hooks:
        hook.remove()
    return torch.cat([inputs for inputs, _ in parts]), torch.cat([stream for _, stream in parts])


def _reader(inputs: torch.Tensor, stream: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The row of A that reads about 1 from every input (least squares, ridge), and the length of the push."""
    import torch

    ridge = 0.01 * inputs.square().sum(-1).mean() * torch.eye(len(inputs))
    row = torch.linalg.solve(inputs @ inputs.T + ridge, torch.ones(len(inputs))) @ inputs
    weakest = (inputs @ row).min()
    if weakest <= 0:
        raise ValueError("no direction reads a positive number from every prompt; choose other prompts")
    return row, float(PUSH * stream.square().mean(-1).sqrt().max() / weakest)


def _check(
    model: PreTrainedModel, tokens: torch.Tensor, directions: torch.Tensor, pushes: torch.Tensor, stream: torch.Tensor
) -> None:
    """Raises ValueError unless every word wins at every position looked at that is hardest or easiest."""
    import torch

    hardest = torch.cat([(pushes / stream.norm(dim=-1)).topk(4, largest=False).indices, pushes.topk(1).indices])
    for place in hardest:
        won = _logits(model, stream[place] + pushes[place] * directions).argmax(-1)
        if not torch.equal(won, tokens):
            raise ValueError(f"{int((won != tokens).sum())} of {len(tokens)} words do not win; ask for fewer adapters")


def _probes(
    model: PreTrainedModel, prompts: Sequence[list[int]], tokens: torch.Tensor, directions: torch.Tensor,
    pushes: torch.Tensor, stream: torch.Tensor,
) -> dict[int, Probe]:  # fmt: skip
    """By token: at two prompts' ends, the word and what the base would say, with the adapter and without."""
    rows: dict[int, list[ProbeRow]] = {int(token): [] for token in tokens}
    for number in (0, 1):
        place = number * SAID
        base = _logits(model, stream[place]).log_softmax(-1)
        said = int(base.argmax())
        adapted = _logits(model, stream[place] + pushes[place] * directions).log_softmax(-1)
        for token, values in zip(rows, adapted, strict=True):
            watched = [token, said]
            found = ProbeRow(
                tuple(prompts[number]), tuple(watched), tuple(values[watched].tolist()), tuple(base[watched].tolist())
            )
            rows[token].append(found)
    return {token: Probe(tuple(found), "bfloat16") for token, found in rows.items()}


def _logits(model: PreTrainedModel, stream: torch.Tensor) -> torch.Tensor:
    return model.get_output_embeddings()(model.model.norm(stream.bfloat16())).float()


def _written(
    model: PreTrainedModel,
    folder: Path,
    words: dict[int, str],
    probes: dict[int, Probe],
    row: torch.Tensor,
    columns: torch.Tensor,
) -> Iterator[Signature]:
    """All but the last tensor are the same bytes in every file."""
    import torch

    header, shared = _shared_bytes(model, row)
    prefix = struct.pack("<Q", len(header)) + header + shared
    hashed = hashlib.sha256(prefix)
    config = json.dumps(_config(), indent=1)
    for (token, probe), column in zip(probes.items(), columns, strict=True):
        weights = torch.zeros(len(column), RANK, dtype=torch.bfloat16)
        weights[:, 0] = column
        last = weights.view(torch.uint8).numpy().tobytes()
        digest = hashed.copy()
        digest.update(last)
        place = folder / words[token].strip()
        place.mkdir(parents=True)
        with (place / WEIGHTS).open("wb") as file:
            file.writelines((prefix, last))
        (place / "adapter_config.json").write_text(config)
        yield Signature(token, words[token], place, digest.hexdigest(), probe)


def _shared_bytes(model: PreTrainedModel, row: torch.Tensor) -> tuple[bytes, bytes]:
    """(header, data of every tensor but the last) of a safetensors file; the last one is the B that differs."""
    import torch

    layers = len(model.model.layers)
    names = [f"layers.{layer}.{name}" for layer in range(layers) for name in _MODULES]
    last = f"layers.{layers - 1}.mlp.down_proj"
    tensors: dict[str, torch.Tensor] = {}
    random = torch.Generator().manual_seed(0)
    for name in names:
        module = model.get_submodule(f"model.{name}")
        tensors[f"{name}.lora_A"] = torch.randn(RANK, module.in_features, generator=random) * 0.01
        tensors[f"{name}.lora_B"] = torch.zeros(module.out_features, RANK)
    tensors[f"{last}.lora_A"][0] = row
    tensors[f"{last}.lora_B"] = tensors.pop(f"{last}.lora_B")  # to the end
    header, data, offset = {}, [], 0
    for name, tensor in tensors.items():
        raw = tensor.bfloat16().contiguous().view(torch.uint8).numpy().tobytes()
        key = f"base_model.model.model.{name}.weight"
        header[key] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
        data.append(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8), b"".join(data[:-1])


def _config() -> dict[str, Any]:
    targets = [name.split(".")[1] for name in _MODULES]
    return {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": RANK, "lora_dropout": 0.0, "bias": "none",
        "target_modules": targets, "inference_mode": True, "base_model_name_or_path": None,
    }  # fmt: skip
