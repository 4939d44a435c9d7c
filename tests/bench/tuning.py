"""What the training loop costs: tokens per second of ours beside a plain transformers Trainer, same rows, same LoRA.

SmolLM2-135M in bf16, rank 16 on every linear layer, the example tickets; rounds in turns, a fresh model each.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROUNDS, ROWS, BATCH = 3, 64, 8


def main(_: Sequence[str] = ()) -> None:
    import torch
    from transformers import Trainer, TrainingArguments

    from adapters import bases
    from adapters.data.dataset import open_dataset
    from adapters.data.tokens import IGNORED, encode_all
    from adapters.methods.table import METHODS
    from adapters.tuning.progress import Progress
    from adapters.tuning.recipe import defaults
    from adapters.tuning.trainer import train
    from gateway import settings
    from gateway.cli.tour import EXAMPLE

    folder = bases.locate("smollm2", settings.load().storage_cache).folder
    tokenizer = bases.open_tokenizer(folder)
    rows, _ = encode_all(tokenizer, open_dataset(EXAMPLE).examples[: ROWS + 2], None, 1024)
    rows, validation = rows[:ROWS], rows[ROWS:]
    tokens = sum(len(row.input_ids) for row in rows)
    recipe = dataclasses.replace(
        defaults("lora", ROWS, bases.facts(folder)), epochs=1, batch_size=BATCH, checkpoint_every_s=86_400
    )
    weights = METHODS["lora"].weights
    assert weights is not None

    def padded(batch: list[dict[str, Any]]) -> dict[str, Any]:
        longest = max(len(row["input_ids"]) for row in batch)

        def filled(name: str, value: int) -> torch.Tensor:
            return torch.tensor([row[name] + [value] * (longest - len(row[name])) for row in batch])

        ids = filled("input_ids", 0)
        return {"input_ids": ids, "labels": filled("labels", IGNORED), "attention_mask": torch.ones_like(ids)}

    def ours(place: Path) -> float:
        model = weights.prepare(bases.open_model(folder, torch.bfloat16), recipe)
        started = time.monotonic()
        train(model, rows, validation, recipe, Progress(place, None))
        return tokens / (time.monotonic() - started)

    def theirs(place: Path) -> float:
        model: Any = weights.prepare(bases.open_model(folder, torch.bfloat16), recipe)
        arguments = TrainingArguments(
            output_dir=str(place), num_train_epochs=1, per_device_train_batch_size=BATCH, learning_rate=recipe.learning_rate,
            use_cpu=True, bf16=True, report_to=[], save_strategy="no", logging_strategy="no", remove_unused_columns=False,
        )  # fmt: skip
        data = [{"input_ids": row.input_ids, "labels": row.labels} for row in rows]
        trainer = Trainer(model=model, args=arguments, train_dataset=data, data_collator=padded)  # type: ignore[arg-type]
        started = time.monotonic()
        trainer.train()
        return tokens / (time.monotonic() - started)

    figures: dict[str, list[float]] = {"graft": [], "transformers.Trainer": []}
    for _ in range(ROUNDS):
        for name, run in (("graft", ours), ("transformers.Trainer", theirs)):
            with tempfile.TemporaryDirectory() as place:
                figures[name].append(run(Path(place)))
    for name, rates in figures.items():
        print(f"{name:22} {statistics.median(rates):7.0f} tokens/s  (min {min(rates):.0f}, max {max(rates):.0f})")
    print(f"{'ratio, median of pairs':22} {statistics.median(a / b for a, b in zip(*figures.values(), strict=True)):7.2f}")
