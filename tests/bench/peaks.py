"""One configuration at work with the real loop, and the peak memory it had: a process's own on a CPU, torch's on a GPU.

Needs torch, transformers, peft, accelerate and `adapters`; nothing of the gateway unless a prepared base is asked for.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from adapters.bases import BaseFacts
from adapters.tuning.memory import Work
from adapters.tuning.recipe import Recipe
from adapters.tuning.shapes import Norms, typical_shape

STEPS, VALIDATION_ROWS = 2, 4


@dataclass(frozen=True, slots=True)
class Case:
    base: str
    """A prepared base's name, or billions of parameters of a shape with random weights."""
    method: str
    rows: int
    longest: int
    learned: int
    knobs: dict[str, Any] = field(default_factory=dict)
    layers: int | None = None
    """Fewer than the shape has, where all of them would take this machine too long."""

    @property
    def recipe(self) -> Recipe:
        aim = {"head": "classification", "continued_pretraining": "lm"}.get(self.method, "sft")
        one = {"epochs": 1, "objective": aim, "batch_size": self.rows, "micro_batch_size": self.rows, "checkpoint_every_s": 0.0}
        return Recipe(self.method, **(one | self.knobs))

    def facts(self) -> BaseFacts:
        if not self.is_random:
            from adapters import bases

            return bases.facts(self.folder)
        shape = typical_shape(float(self.base))
        return _counted(dataclasses.replace(shape, layers=self.layers or shape.layers))

    @property
    def is_random(self) -> bool:
        return self.base[0].isdigit()

    @property
    def folder(self) -> Path:
        from adapters import bases
        from gateway import settings

        return bases.locate(self.base, settings.load().storage_cache).folder


def _counted(facts: BaseFacts) -> BaseFacts:
    """With the parameters that a Llama of this shape has, which its name only rounds."""
    from adapters.tuning.shapes import linear_params

    tables = facts.vocab * facts.hidden * (1 if facts.tied else 2)
    return dataclasses.replace(facts, params=tables + linear_params(facts) + (2 * facts.layers + 1) * facts.hidden)


def predicted(case: Case, device: str) -> Work:
    """The work that `material.fit` would make of the case's rows."""
    from adapters.tuning import memory
    from adapters.tuning.device import dtype

    number = 2 if device == "cuda" else dtype().itemsize
    given: dict[str, Any] = {"answer_tokens": min(256, case.learned + 4), "bytes_per_weight": number, "device": device}
    if not case.is_random:
        return memory.work(case.recipe, case.folder, longest=case.longest, supervised=case.learned, **given)
    names = {one.name for one in dataclasses.fields(Recipe)} & {one.name for one in dataclasses.fields(Work)}
    knobs = {name: getattr(case.recipe, name) for name in names}
    return Work(**knobs, sequence_length=case.longest, supervised=case.learned, norms=Norms(), **given)


def run(case: Case, facts: BaseFacts, device: str, *, keeps_files: bool = True) -> None:
    """Loads or makes the base and does what a run of this case does with it."""
    import torch

    torch.manual_seed(0)
    if case.method == "head":
        return _unfreeze(case)
    model = _random_model(facts, device, bits=4 if case.method == "qlora" else 16) if case.is_random else _opened(case)
    if case.method == "few_shot":
        return _answer(case, model)
    if device == "cuda":  # what making random weights took is not the run's
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return _train(case, model, keeps_files)


def _opened(case: Case) -> Any:
    from adapters import bases
    from adapters.tuning import device

    return bases.open_model(case.folder, device.dtype())


def _train(case: Case, model: Any, keeps_files: bool) -> None:
    from adapters import bases
    from adapters.data.tokens import IGNORED, Encoded
    from adapters.methods.contract import Ground
    from adapters.methods.table import METHODS
    from adapters.tuning import checkpoint
    from adapters.tuning.objectives import Pair
    from adapters.tuning.progress import Progress
    from adapters.tuning.trainer import train

    recipe, weights = case.recipe, METHODS[case.method].weights
    assert weights is not None
    tokenizer: Any = None if case.is_random else bases.open_tokenizer(case.folder)
    ground = Ground(recipe, Path() if case.is_random else case.folder, case.base, tokenizer, None, ())
    ids = list(range(100, 100 + case.longest))
    if case.method == "prompt_tuning":
        from adapters.soft_slot import MARKER

        ids = [weights.asked(ground).tokenizer.convert_tokens_to_ids(MARKER)] * recipe.virtual_tokens + ids
    row: Any = Encoded(ids, [IGNORED] * (len(ids) - case.learned) + ids[len(ids) - case.learned :], 1, 2 * case.learned)
    if recipe.objective == "dpo":
        row = Pair(row, row, (-1.0, -1.0))
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    prepared = weights.prepare(model, ground)
    with tempfile.TemporaryDirectory() as place:

        def touched(path: Path, *_: Any) -> None:
            path.touch()

        def nothing(*_: Any, **__: Any) -> None: ...

        written = {"save": checkpoint.save}  # patched with itself: nothing changes
        if not keeps_files:
            written = {"save": nothing, "save_weights": touched, "restore_weights": nothing}
        with patch.multiple(checkpoint, **written):
            rows = [row] * (recipe.batch_size * STEPS)
            train(prepared, rows, [row] * min(VALIDATION_ROWS, case.rows), recipe, Progress(Path(place), None))


def _answer(case: Case, model: Any) -> None:
    from adapters import bases
    from adapters.evaluation.completer import LocalCompleter

    tokenizer = bases.open_tokenizer(case.folder)
    text = "word " * (
        case.longest - len(tokenizer.apply_chat_template([{"role": "user", "content": ""}], tokenize=True)["input_ids"])
    )
    ask = LocalCompleter(model, tokenizer, max_new_tokens=min(256, case.learned + 4))
    ask([[{"role": "user", "content": text.strip()}]] * 16)


def _unfreeze(case: Case) -> None:
    """As `heads.py` does: the whole backbone in fp32 with a head on it, from texts."""
    from adapters.classifier import HeadModel, open_backbone
    from adapters.tuning.objectives import Labelled
    from adapters.tuning.progress import Progress
    from adapters.tuning.trainer import train

    backbone = open_backbone(case.recipe.backbone, case.folder)
    text = "word " * case.longest
    backbone.features([text] * 16)
    rows = [Labelled(text, number % 2) for number in range(16 * STEPS)]
    recipe = dataclasses.replace(case.recipe, batch_size=16, micro_batch_size=8)
    with tempfile.TemporaryDirectory() as place:
        train(HeadModel(backbone.width, 2, backbone.float()), rows, rows[:8], recipe, Progress(Path(place), None))


def _random_model(facts: BaseFacts, device: str, *, bits: int) -> Any:
    """A Llama of this shape in bf16, made where it will be trained; in 4 bits, its linear layers quantised there."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=facts.vocab, hidden_size=facts.hidden, intermediate_size=facts.intermediate,
        num_hidden_layers=facts.layers, num_attention_heads=facts.heads, num_key_value_heads=facts.kv_heads,
        head_dim=facts.head_dim, max_position_embeddings=facts.context, tie_word_embeddings=facts.tied,
        attn_implementation="sdpa",
    )  # fmt: skip
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    return _quantised(model, device) if bits == 4 else model


def _quantised(model: Any, device: str) -> Any:
    import bitsandbytes
    import torch

    layers = [name for name, module in model.named_modules() if type(module) is torch.nn.Linear and name != "lm_head"]
    for name in layers:
        inside, _, last = name.rpartition(".")
        plain = model.get_submodule(name)
        with torch.device("meta"):
            layer = bitsandbytes.nn.Linear4bit(
                plain.in_features, plain.out_features, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4"
            )
        weight = bitsandbytes.nn.Params4bit(plain.weight.data, requires_grad=False, quant_type="nf4", module=layer)
        layer.weight = weight.to(device)
        setattr(model.get_submodule(inside), last, layer)
    model.is_loaded_in_4bit = True
    return model
