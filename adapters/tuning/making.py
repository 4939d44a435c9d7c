"""A run's models at work: the base answers, is tuned and saved, and what was saved answers.

One model is in memory at a time. What is finished lies in the run's folder and is not done again. Knows no stages and
no registry.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters import bases
from adapters.adapted_model import AdapterRef
from adapters.data.tokens import encode_all, encode_documents
from adapters.errors import InvalidInput
from adapters.evaluation import probe as probes
from adapters.evaluation.completer import LocalCompleter
from adapters.evaluation.loss import RowLoss, measure
from adapters.evaluation.recording import record
from adapters.evaluation.scorecard import Item, score, score_documents
from adapters.methods.contract import Weights
from adapters.methods.table import method
from adapters.prompts import PromptTemplate
from adapters.registry import PROBE, write_whole
from adapters.tuning.material import Material, Rows
from adapters.tuning.progress import Progress

if TYPE_CHECKING:
    from adapters.tuning.objectives import Pair

ADAPTER, ADAPTER_REF, REFERENCE = "adapter", "adapter.json", "reference.json"
BEST_STEP = 0
"""Stands for the best weights of a run, which every run keeps."""


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """An adapter in the run's folder, with what an engine that serves it must answer."""

    step: int
    """After which it was kept; BEST_STEP for the best."""
    folder: Path
    ref: AdapterRef
    probe: dict[str, Any] | None


class Making:
    def __init__(self, material: Material, progress: Progress) -> None:
        self.material, self.progress = material, progress
        self.folder, self.recipe = progress.folder, material.ground.recipe
        self._model: Any = None
        self._bits = 16

    def base(self, bits: int = 16) -> Any:
        """The base, loaded when first needed; from the moment it is tuned, what it became."""
        if self._model is None or bits != self._bits:
            from adapters.tuning import device

            self._model, self._bits = None, bits  # the old one's memory goes first
            opened = bases.open_model(self.material.ground.base_folder, device.dtype(), bits=bits)
            self._model = opened if bits == 4 else opened.to(device.device())
        return self._model

    def baseline(self) -> list[Item]:
        """What the base answers, under the prompt it is compared under."""
        return self._answers(self.material.baseline_template)

    def adapted(self) -> list[Item]:
        """What answers after `train` or `reopen`."""
        return self._answers(self.material.template)

    def _answers(self, template: PromptTemplate | None) -> list[Item]:
        from adapters.tuning import device

        material, model, watch = self.material, self.base(self._bits), self.progress.raise_if_stopped
        if self.recipe.objective == "lm":
            return score_documents(self._document_losses(model), material.scored)
        rows, _ = encode_all(material.tokenizer, material.scored, template, material.facts.context)
        losses = measure(model, rows, device.device(), between=watch)
        completer = LocalCompleter(model, material.tokenizer, max_new_tokens=material.answer_tokens, between=watch)
        return score(completer, losses, material.scored, template)

    def _document_losses(self, model: Any) -> list[RowLoss]:
        from adapters.tuning import device

        longest = min(self.recipe.max_length, self.material.facts.context)
        pieces = [encode_documents(self.material.tokenizer, [example], longest) for example in self.material.scored]
        losses = iter(measure(model, [row for rows in pieces for row in rows], device.device(), self.progress.raise_if_stopped))
        return [_sum([next(losses) for _ in rows]) for rows in pieces]

    def train(self) -> None:
        """Leaves the adapters' files in the folder. Training that had ended before only reads its best weights."""
        from adapters.tuning.trainer import train

        adapts = method(self.recipe.method)
        weights = adapts.weights
        if weights is None:
            raise InvalidInput(f"{self.recipe.method} does not train", param="method")
        base = self.base(adapts.bits)
        train_rows, validation_rows = self._rows(base)
        if self.recipe.gradient_checkpointing:
            base.gradient_checkpointing_enable({"use_reentrant": False})
        self._model = weights.prepare(base, self.material.ground)
        outcome = train(self._model, train_rows, validation_rows, self.recipe, self.progress, rate=weights.rate)
        self.progress.event("trained", **dataclasses.asdict(outcome))
        self._save_all(weights)
        self._bits = 16

    def _save_all(self, weights: Weights) -> None:
        """The kept ends of epochs and, last, the best, each as an adapter with its probe; the best stays in memory."""
        from adapters.tuning import checkpoint

        trainable = {name: parameter for name, parameter in self._model.named_parameters() if parameter.requires_grad}
        files = checkpoint.epoch_files(self.folder) | {BEST_STEP: self.folder / checkpoint.BEST}
        ground, refs = self.material.ground, {}
        for step, file in files.items():
            beside = place(self.folder, step).with_name(f".{place(self.folder, step).name}")
            for stale in (beside, place(self.folder, step)):
                shutil.rmtree(stale, ignore_errors=True)
            (beside / ADAPTER).mkdir(parents=True)
            checkpoint.restore_weights(file, trainable)
            refs[step] = weights.save(self._model, beside / ADAPTER, ground)
            write_whole(beside / ADAPTER_REF, json.dumps(dataclasses.asdict(refs[step])))
        for step in files:
            beside = place(self.folder, step).with_name(f".{place(self.folder, step).name}")
            self._model = None
            self._model = weights.open(beside / ADAPTER, ground)
            probe = record(
                self._model, self.material.validation.tokens, between=self.progress.raise_if_stopped,
                untuned=lambda: weights.untuned(self._model, ground),
            )  # fmt: skip
            self.progress.event("probe", step=step, rows=len(probe.rows), shift_nats=round(probe.shift, 2))
            write_whole(beside / PROBE, json.dumps(probes.to_json(probe)))
            os.rename(beside, place(self.folder, step))

    def reopen(self) -> None:
        """After a kill: what was trained and saved before, in memory again."""
        weights = method(self.recipe.method).weights
        if weights is not None and self._model is None:
            self._model = weights.open(place(self.folder, BEST_STEP) / ADAPTER, self.material.ground)

    def _rows(self, base: Any) -> tuple[list[Any], list[Any]]:
        train, validation = self.material.train, self.material.validation
        if self.recipe.objective != "dpo":
            return list(train.tokens), list(validation.tokens)
        from adapters.tuning.objectives import Pair

        both = [pair for rows in (train, validation) for pair in zip(rows.tokens, rows.rejected, strict=True)]
        file = self.folder / REFERENCE
        if not file.is_file():  # once, before anything is tuned: a killed run must not take what it became for the reference
            write_whole(file, json.dumps(self._log_probabilities(base, train, validation)))
        reference: list[tuple[float, float]] = [tuple(row) for row in json.loads(file.read_bytes())]
        rows: list[Pair] = [Pair(*pair, nats) for pair, nats in zip(both, reference, strict=True)]
        return rows[: len(train.tokens)], rows[len(train.tokens) :]

    def _log_probabilities(self, base: Any, *parts: Rows) -> list[tuple[float, float]]:
        """Nats of the chosen and the rejected answer of every row, under the base."""
        from adapters.tuning import device

        chosen = [row for part in parts for row in part.tokens]
        rejected = [row for part in parts for row in part.rejected]
        losses = measure(base, [*chosen, *rejected], device.device(), self.progress.raise_if_stopped)
        return [
            (-liked.nats, -disliked.nats) for liked, disliked in zip(losses[: len(chosen)], losses[len(chosen) :], strict=True)
        ]


def place(folder: Path, step: int) -> Path:
    """Where a run keeps the adapter it had after this step."""
    return folder / "kept" / ("best" if step == BEST_STEP else f"step-{step}")


def made(folder: Path) -> list[Made]:
    """The adapters a run has kept: the ends of epochs, oldest first, then the best."""
    steps = sorted(int(kept.name.removeprefix("step-")) for kept in (folder / "kept").glob("step-*"))
    return [_made(folder, step) for step in [*steps, BEST_STEP]]


def _made(folder: Path, step: int) -> Made:
    kept = place(folder, step)
    ref = AdapterRef(**json.loads((kept / ADAPTER_REF).read_bytes()))
    probe = json.loads((kept / PROBE).read_bytes()) if (kept / PROBE).is_file() else None
    return Made(step, kept / ADAPTER, ref, probe)


def _sum(losses: list[RowLoss]) -> RowLoss:
    return RowLoss(
        sum(loss.nats for loss in losses), sum(loss.tokens for loss in losses), sum(loss.answer_bytes for loss in losses)
    )
