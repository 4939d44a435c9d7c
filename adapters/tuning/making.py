"""A run's models at work: the base answers, is tuned and saved, and what was saved answers.

One model is in memory at a time. What is finished lies in the run's folder and is not done again. Knows no stages and
no registry.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters import bases
from adapters.adapted_model import AdapterRef
from adapters.data.tokens import Encoded, encode_all, encode_documents
from adapters.errors import InvalidInput
from adapters.evaluation import probe as probes
from adapters.evaluation.completer import LocalCompleter
from adapters.evaluation.loss import RowLoss, measure
from adapters.evaluation.scorecard import Item, score, score_documents
from adapters.methods.contract import Ground, Watched, Weights
from adapters.methods.table import method
from adapters.registry import PROBE, write_whole
from adapters.tuning import several
from adapters.tuning.forgetting import Watch, replayed
from adapters.tuning.material import Material, Rows
from adapters.tuning.progress import Progress
from adapters.tuning.several import ONE, Processes

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
    def __init__(self, material: Material, progress: Progress, processes: Processes = ONE) -> None:
        self.material, self.progress, self.processes = material, progress, processes
        self.folder, self.recipe = progress.folder, material.ground.recipe
        self._model: Any = None
        self._bits = 16
        self._watch = Watch(self.folder, material.tokenizer, progress.raise_if_stopped)

    def base(self, bits: int = 16, *, is_split: bool = False) -> Any:
        """The base, loaded when first needed; from the moment it is tuned, what it became. What is to be split over
        processes stays in main memory until it is."""
        if self._model is None or bits != self._bits:
            from adapters.tuning import device

            self._model, self._bits = None, bits  # the old one's memory goes first
            opened = bases.open_model(self.material.ground.base_folder, device.dtype(), bits=bits)
            self._model = opened if bits == 4 or is_split else opened.to(device.device())
        return self._model

    def baseline(self) -> list[Item]:
        """What the base answers, under the prompt it is compared under."""
        answers = self._answers(dataclasses.replace(self.material.ground, template=self.material.baseline_template))
        if self.watches_forgetting:
            self._watch.begin(self.base())
        return answers

    def adapted(self) -> list[Item]:
        """What answers after `train` or `reopen`."""
        weights, ground = method(self.recipe.method).weights, self.material.ground
        return self._answers(weights.asked(ground) if weights is not None else ground)

    @property
    def watches_forgetting(self) -> bool:
        """Whether the weights that are served are the base's, changed."""
        weights = method(self.recipe.method).weights
        return weights is not None and weights.kind in ("lora", "checkpoint")

    def forgetting(self) -> dict[str, Any]:
        """After `train` or `reopen`: what the scorecard says of it."""
        return self._watch.end(self.base(self._bits), self.recipe.seed)

    def _answers(self, ground: Ground) -> list[Item]:
        from adapters.tuning import device

        material, model, watch = self.material, self.base(self._bits), self.progress.raise_if_stopped
        if self.recipe.objective == "lm":
            return score_documents(self._document_losses(model), material.scored)
        rows, _ = encode_all(ground.tokenizer, material.scored, ground.template, material.facts.context)
        losses = measure(model, rows, device.device(), between=watch)
        completer = LocalCompleter(model, ground.tokenizer, max_new_tokens=material.answer_tokens, between=watch)
        return score(completer, losses, material.scored, ground.template)

    def _document_losses(self, model: Any) -> list[RowLoss]:
        from adapters.tuning import device

        longest = min(self.recipe.max_length, self.material.facts.context)
        pieces = [encode_documents(self.material.tokenizer, [example], longest) for example in self.material.scored]
        losses = iter(measure(model, [row for rows in pieces for row in rows], device.device(), self.progress.raise_if_stopped))
        return [_sum([next(losses) for _ in rows]) for rows in pieces]

    def train(self) -> None:
        """Leaves the adapters' files in the folder. Training that had ended before only reads its best weights."""
        weights = self._weights()
        if self.watches_forgetting:
            self._watch.begin(self.base())
        if self.processes.count > 1:
            self._rows(self.base(), weights.asked(self.material.ground))  # they ask the base what they need to know of it
            self._free()
            several.learn(self.folder, self.processes, self.progress.stopping)
            self._model = weights.prepare(self.base(method(self.recipe.method).bits), self.material.ground)
        else:
            self.learn()
        self._save_all(weights)
        self._bits = 16

    def learn(self) -> None:
        """What every process does that trains: from the untouched base to the best weights in memory and folder."""
        from adapters.tuning.trainer import FORGETTING, train

        adapts, weights = method(self.recipe.method), self._weights()
        is_split = self.processes.count > 1 and self.processes.sharding == "fsdp2"
        base = self.base(adapts.bits, is_split=is_split)
        train_rows, validation_rows = self._rows(base, weights.asked(self.material.ground))
        if self.recipe.gradient_checkpointing:
            base.gradient_checkpointing_enable({"use_reentrant": False})
        self._model = weights.prepare(base, self.material.ground)
        outcome = train(
            self._model, train_rows, validation_rows, self.recipe, self.progress, rate=weights.rate,
            after_epoch=lambda: {FORGETTING: self._watch.rise(self._model)} if self.watches_forgetting else {},
            sharding=self.processes.sharding,
        )  # fmt: skip
        self.progress.event("trained", **dataclasses.asdict(outcome))

    def _weights(self) -> Weights:
        weights = method(self.recipe.method).weights
        if weights is None:
            raise InvalidInput(f"{self.recipe.method} does not train", param="method")
        return weights

    def _free(self) -> None:
        """Leaves the memory to others."""
        import torch

        self._model = None
        gc.collect()  # models refer to themselves
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _save_all(self, weights: Weights) -> None:
        """The kept ends of epochs and, last, the best, each as an adapter with its probe; the best stays in memory."""
        from adapters.tuning import checkpoint

        trainable = {name: parameter for name, parameter in self._model.named_parameters() if parameter.requires_grad}
        files = checkpoint.epoch_files(self.folder) | {BEST_STEP: self.folder / checkpoint.BEST}
        ground, validation, refs = self.material.ground, self.material.validation, {}
        watched = Watched(validation.examples, validation.tokens)
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
            probe = weights.probe(self._model, ground, watched, self.progress.raise_if_stopped)
            self.progress.event("probe", step=step, rows=len(probe.rows), shift_nats=round(probe.shift, 2))
            write_whole(beside / PROBE, json.dumps(probes.to_json(probe)))
            os.rename(beside, place(self.folder, step))

    def reopen(self) -> None:
        """After a kill: what was trained and saved before, in memory again."""
        weights = method(self.recipe.method).weights
        if weights is not None and self._model is None:
            self._model = weights.open(place(self.folder, BEST_STEP) / ADAPTER, self.material.ground)

    def _rows(self, base: Any, asked: Ground) -> tuple[list[Any], list[Any]]:
        train, validation = self.material.train, self.material.validation
        if asked is not self.material.ground:  # the tuned model reads other tokens than the base
            context = self.material.facts.context
            own = [encode_all(asked.tokenizer, part.examples, asked.template, context)[0] for part in (train, validation)]
            return own[0], own[1]
        if self.recipe.objective != "dpo":
            return [*train.tokens, *self._replayed(base)], list(validation.tokens)
        from adapters.tuning.objectives import Pair

        both = [pair for rows in (train, validation) for pair in zip(rows.tokens, rows.rejected, strict=True)]
        file = self.folder / REFERENCE
        if not file.is_file():  # once, before anything is tuned: a killed run must not take what it became for the reference
            write_whole(file, json.dumps(self._log_probabilities(base, train, validation)))
        reference: list[tuple[float, float]] = [tuple(row) for row in json.loads(file.read_bytes())]
        rows: list[Pair] = [Pair(*pair, nats) for pair, nats in zip(both, reference, strict=True)]
        return rows[: len(train.tokens)], rows[len(train.tokens) :]

    def _replayed(self, base: Any) -> list[Encoded]:
        """Rows against forgetting: the user's, or the base's own answers."""
        share, train = self.recipe.replay_share, self.material.train
        if self.material.replay:
            return self.material.replay
        if not share:
            return []
        return replayed(
            self.folder, base, self.material.tokenizer, share=share, beside=len(train.tokens), seed=self.recipe.seed,
            between=self.progress.raise_if_stopped,
        )  # fmt: skip

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
