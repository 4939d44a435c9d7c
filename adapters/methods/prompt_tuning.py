"""Prompt tuning: embeddings of a few tokens are learned, and no weight of the base (Lester et al., 2021, arXiv 2104.08691).

They are trained in the very slot in which they are served, at the start of the system message. Below about a billion
parameters this is clearly worse than LoRA (their figure 1); its point is that it takes no adapter's place in an engine.
Knows no training loop and no engine.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters import bases
from adapters.adapted_model import ADAPTER_KINDS, AdapterRef
from adapters.conversation import Example
from adapters.data.tokens import Encoded, encode, prompt_ids
from adapters.errors import InvalidInput
from adapters.evaluation.probe import Probe
from adapters.evaluation.recording import record_in_chat
from adapters.methods.contract import Ground, Watched
from adapters.registry import file_digest, write_whole
from adapters.soft_slot import CONFIG, FORMAT, MARKER, PAYLOAD, SEPARATORS, with_markers
from adapters.tuning.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase

WEIGHTS = ADAPTER_KINDS["soft_prompt"]
EMBEDDINGS = "embeddings"
ROWS_SAMPLED = 1000
"""Training rows whose words a soft prompt may start from."""


class PromptTuning:
    kind = "soft_prompt"

    def prepare(self, model: Any, ground: Ground) -> nn.Module:
        """The base frozen in its dtype; the table trainable in fp32, since bf16 would round small steps away."""
        from adapters.tuning.soft_prompt import SoftPrompt, embedded

        asked = self.asked(ground)
        start = embedded(model, _start_ids(ground))
        return SoftPrompt(model.requires_grad_(False), start, _marker_id(asked.tokenizer))

    def rate(self, parameter: str, epoch: int, recipe: Recipe) -> float:
        return 1.0

    def served_rank(self, recipe: Recipe) -> int:
        return 0

    def asked(self, ground: Ground) -> Ground:
        """The ground on which rows and questions are rendered for the tuned model: a marker stands for each soft token.

        Raises InvalidInput where the base has no chat template, or one without system messages.
        """
        if ground.tokenizer.chat_template is None:
            raise InvalidInput(
                f"{ground.base_name} has no chat template, and a soft prompt stands in the system message: take lora, which "
                "needs none, or a chat base",
                param="base",
            )
        tokenizer = copy.deepcopy(ground.tokenizer)
        # as vLLM does with its own (vllm/renderers/hf.py), so that the text around it falls into the same tokens
        tokenizer.add_special_tokens({"additional_special_tokens": [MARKER]})
        template = with_markers(ground.template, ground.recipe.virtual_tokens)
        return dataclasses.replace(ground, tokenizer=tokenizer, template=template)

    def rows(self, ground: Ground, examples: Sequence[Example]) -> list[Encoded]:
        """The examples as the tuned model reads them, the ids of the markers in them. Of any length; raises as `encode`."""
        asked = self.asked(ground)
        return [encode(asked.tokenizer, example, asked.template) for example in examples]

    def save(self, model: Any, folder: Path, ground: Ground) -> AdapterRef:
        """The embeddings, rounded to the base's dtype in the model too; what they are; and the form the engine takes."""
        import torch
        from safetensors.torch import save_file

        from adapters.tuning import device

        dtype = device.dtype()
        with torch.no_grad():
            model.embeddings.copy_(model.embeddings.to(dtype))
        embeddings = model.embeddings.detach().to("cpu", dtype).contiguous()
        tokens, hidden = embeddings.shape
        save_file({EMBEDDINGS: embeddings}, folder / WEIGHTS, metadata={"format": "pt"})
        said = {
            "format": FORMAT, "slot": "system_start", "separator": _separator(ground.tokenizer), "tokens": tokens,
            "hidden": hidden, "base_digest": bases.facts(ground.base_folder).digest,
            "chat_template_sha256": _template_digest(ground.tokenizer),
        }  # fmt: skip
        write_whole(folder / CONFIG, json.dumps(said, indent=1))
        write_whole(folder / PAYLOAD, payload_of(embeddings))
        for file in (WEIGHTS, CONFIG, PAYLOAD):
            (folder / file).chmod(0o644)  # safetensors writes 0600, and the gateway may run as somebody else
        return AdapterRef(self.kind, file_digest(folder / WEIGHTS))

    def open(self, folder: Path, ground: Ground) -> Any:
        from safetensors.torch import load_file

        from adapters.tuning import device
        from adapters.tuning.soft_prompt import SoftPrompt

        embeddings = load_file(folder / WEIGHTS)[EMBEDDINGS]
        base = bases.open_model(ground.base_folder, device.dtype()).requires_grad_(False)
        model = SoftPrompt(base, embeddings, _marker_id(self.asked(ground).tokenizer))
        return model.to(device.device()).eval()

    @contextmanager
    def untuned(self, model: Any, ground: Ground) -> Iterator[Any]:
        """The base; it knows no markers, and is asked with the template and tokenizer of the ground itself."""
        yield model.base

    def probe(self, model: Any, ground: Ground, watched: Watched, between: Callable[[], None]) -> Probe:
        """What an engine that is handed the opened model's soft prompt must answer. Raises as `record_in_chat`."""
        asked = self.asked(ground)
        return record_in_chat(
            model, watched.examples, untuned=lambda: self.untuned(model, ground), between=between,
            asked=partial(prompt_ids, asked.tokenizer, template=asked.template),
            plain=partial(prompt_ids, ground.tokenizer, template=ground.template),
        )  # fmt: skip


def _marker_id(tokenizer: PreTrainedTokenizerBase) -> int:
    found = tokenizer.convert_tokens_to_ids(MARKER)
    assert isinstance(found, int)
    return found


def _start_ids(ground: Ground) -> list[int]:
    """The ids whose embeddings the soft tokens start from: of a text, said again and again; without one, words of the
    training rows, drawn by the seed. Random numbers in their place learn much less (Lester et al., 2021, figure 3b)."""
    recipe, tokenizer = ground.recipe, ground.tokenizer
    text = recipe.initial_text or (ground.template.system if ground.template is not None else None) or ""
    ids = _words(tokenizer, text)
    if ids:
        return list(itertools.islice(itertools.cycle(ids), recipe.virtual_tokens))
    said = {message.content for example in ground.examples[:ROWS_SAMPLED] for message in example.messages}
    known = sorted({word for content in said for word in _words(tokenizer, content)}) or sorted(
        set(range(len(tokenizer))) - set(tokenizer.all_special_ids)
    )
    return random.Random(recipe.seed).choices(known, k=recipe.virtual_tokens)  # noqa: S311 - a start, not a secret


def _words(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
    return ids


def _separator(tokenizer: PreTrainedTokenizerBase) -> str:
    """What stands between two parts of a system message that hold what was trained as one text.

    A chat template that walks through parts itself writes one after the other; for the others vLLM joins them with a
    line end (vllm/renderers/chat_utils.py).
    """
    from jinja2 import TemplateError

    def rendered(content: Any) -> str:
        said = [{"role": "system", "content": content}, {"role": "user", "content": "?"}]
        return str(tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True))

    whole = rendered(f"{MARKER}\ntext")
    for separator in SEPARATORS:
        parts = [{"type": "text", "text": MARKER}, {"type": "text", "text": "\ntext".removeprefix(separator)}]
        try:
            if rendered(parts) == whole:
                return separator
        except (TemplateError, TypeError):  # it adds strings, and cannot read parts
            break
    return "\n"


def _template_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    import hashlib

    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def payload_of(embeddings: torch.Tensor) -> str:
    """What vLLM takes in a content part: base64 of `torch.save`. Made here, as the gateway loads no torch."""
    import base64
    import io

    import torch

    file = io.BytesIO()
    torch.save(embeddings, file)
    return base64.b64encode(file.getvalue()).decode("ascii")
