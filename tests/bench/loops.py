"""Three loops over the same rows: Graft's, TRL's SFTTrainer and a plain transformers Trainer.

Each is handed a model, rows of tokens and a recipe, and says what every step took and lost. The peers get the recipe's
own optimiser and learning rates. Knows no model and no table of figures.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.data.tokens import IGNORED, Encoded
from adapters.tuning.progress import Progress
from adapters.tuning.recipe import Recipe

clock = time.monotonic
"""`time.process_time` instead tells what a loop costs on a machine that does other things too."""
ROOM = 1.05
"""Packed rows hold a step's rows and a little more: best-fit packing needs some play."""


@dataclass(slots=True)
class Ran:
    started_s: float = 0.0
    ended_s: list[float] = field(default_factory=list)
    """When each step had ended, by `clock`, as `started_s`."""
    losses: list[float] = field(default_factory=list)
    """Of each step, nats per supervised token."""

    def seconds(self, warmup_steps: int = 0) -> float:
        return self.ended_s[-1] - (self.ended_s[warmup_steps - 1] if warmup_steps else self.started_s)


def prepared(model: Any, recipe: Recipe, *, ours: bool) -> Any:
    """The model with what the recipe trains trainable, the same numbers for every loop; LoRA layers fused where ours."""
    import torch

    if recipe.method == "full":
        if recipe.precision == "mixed":
            model.computes_in = model.dtype
            model.float()
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return model
    from peft import LoraConfig, get_peft_model

    from adapters.tuning.fused import fuse

    torch.manual_seed(recipe.seed)
    config = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config)
    if ours:
        fuse(adapted)
    return adapted


class _EnoughError(Exception):
    pass


class _Watched(Progress):
    """Ends the run at its last step: validation and files come after it, and the peers do neither."""

    def __init__(self, folder: Path, ran: Ran) -> None:
        super().__init__(folder)
        self.ran = ran

    def event(self, kind: str, **fields: Any) -> None:
        if kind == "training":
            self.ran.started_s = _now()
        elif kind == "step":
            self.ran.ended_s.append(_now())
            self.ran.losses.append(fields["loss"])
            if fields["step"] == fields["steps"]:
                raise _EnoughError


def _now() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock()


def graft(model: Any, rows: Sequence[Encoded], recipe: Recipe) -> Ran:
    from adapters.tuning.trainer import train

    _forget_accelerate()
    ran = Ran()
    with tempfile.TemporaryDirectory() as place, suppress(_EnoughError):
        train(model, rows, rows[:1], recipe, _Watched(Path(place), ran))
    return ran


def _forget_accelerate() -> None:
    """It keeps one precision for a whole process, and the loops want different ones."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


TRL_WAYS: dict[str, dict[str, Any]] = {
    "padded": {},
    "grouped": {"train_sampling_strategy": "group_by_length"},
    "padding_free": {"padding_free": True, "max_length": None},
    "packing": {"packing": True},
    "in_order": {"train_sampling_strategy": "sequential"},
}
"""How TRL puts rows together. `in_order` is for the comparison of losses, where the batches must be the same."""


def trl(model: Any, rows: Sequence[Encoded], recipe: Recipe, tokenizer: Any, way: str = "padded") -> Ran:
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    from datasets import Dataset, disable_progress_bars
    from trl import SFTConfig, SFTTrainer

    _forget_accelerate()
    disable_progress_bars()
    settings = dict(TRL_WAYS[way])
    if way == "packing":  # about as many rows to a step as the recipe wants
        longest = max(len(row.input_ids) for row in rows)
        a_step = recipe.batch_size * sum(len(row.input_ids) for row in rows) / len(rows)
        settings |= {"max_length": max(longest, int(a_step * ROOM)), "per_device_train_batch_size": 1}
    with tempfile.TemporaryDirectory() as place:
        arguments = SFTConfig(**(_arguments(model, recipe, place) | {"max_length": None} | settings))
        data = Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in rows])
        trainer = SFTTrainer(model=model, args=arguments, train_dataset=data, processing_class=tokenizer)
        return _watched(trainer, model, recipe, steps=None if way == "packing" else _steps(rows, recipe))


def transformers(model: Any, rows: Sequence[Encoded], recipe: Recipe, way: str = "padded") -> Ran:
    from transformers import Trainer, TrainingArguments

    _forget_accelerate()
    with tempfile.TemporaryDirectory() as place:
        arguments = TrainingArguments(**_arguments(model, recipe, place), remove_unused_columns=False, **TRL_WAYS[way])
        data: Any = [{"input_ids": row.input_ids, "labels": row.labels} for row in rows]
        trainer = Trainer(model=model, args=arguments, train_dataset=data, data_collator=padded)
        return _watched(trainer, model, recipe, steps=_steps(rows, recipe))


def padded(batch: list[dict[str, list[int]]]) -> dict[str, Any]:
    import torch

    longest = max(len(row["input_ids"]) for row in batch)

    def filled(rows: list[list[int]], value: int) -> torch.Tensor:
        return torch.tensor([row + [value] * (longest - len(row)) for row in rows])

    return {
        "input_ids": filled([row["input_ids"] for row in batch], 0),
        "labels": filled([row["labels"] for row in batch], IGNORED),
        "attention_mask": filled([[1] * len(row["input_ids"]) for row in batch], 0),
    }


def _steps(rows: Sequence[Encoded], recipe: Recipe) -> int:
    return recipe.epochs * -(-len(rows) // recipe.batch_size)


def _arguments(model: Any, recipe: Recipe, place: str) -> dict[str, Any]:
    import torch

    from adapters.tuning.trainer import _computes_bf16

    return {
        "output_dir": place, "num_train_epochs": recipe.epochs, "per_device_train_batch_size": recipe.micro_batch_size,
        "gradient_accumulation_steps": recipe.batch_size // recipe.micro_batch_size,
        "max_grad_norm": recipe.max_grad_norm, "bf16": _computes_bf16(model), "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": recipe.gradient_checkpointing, "report_to": [], "save_strategy": "no",
        "logging_strategy": "steps", "logging_steps": 1, "disable_tqdm": True, "seed": recipe.seed,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }  # fmt: skip


def _watched(trainer: Any, model: Any, recipe: Recipe, steps: int | None) -> Ran:
    import torch
    from transformers import PrinterCallback, TrainerCallback

    from adapters.tuning.trainer import learning_rate

    ran, total = Ran(), steps or -(-len(trainer.train_dataset) // trainer.args.gradient_accumulation_steps)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adam = torch.optim.AdamW(trainable, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    share = [learning_rate(step, total, recipe) / recipe.learning_rate for step in range(total)]
    trainer.optimizer = adam
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: share[min(step, total - 1)])

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            ran.started_s = _now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            ran.ended_s.append(_now())

    trainer.add_callback(Watch())
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    ran.losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return ran
