"""One tuning, from a data file to a draft in the registry, in stages whose results lie in the run's folder.

    metrics.jsonl    what happened, line by line      baseline.json, adapted.json   every scored answer of both arms
    checkpoint.safetensors, best.safetensors          adapter/, adapter.json        the PEFT files, and which they are
    probe.json       what an engine that serves them answers
    seconds.json     per stage                        result.json or failure.json   the end; run.lock while it works

Killed at any moment it goes on where it was: a finished stage is read, not repeated. Knows no queue and no gateway.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters import bases
from adapters.adapted_model import AdaptedModel, AdapterRef, Lineage, Sampling
from adapters.conversation import Example
from adapters.data.dataset import Dataset, Splits, open_dataset, split
from adapters.data.tokens import Encoded, encode_all
from adapters.errors import Conflict, GraftError, Interrupted, InvalidInput
from adapters.evaluation import probe as probes
from adapters.evaluation.completer import LocalCompleter
from adapters.evaluation.loss import RowLoss, measure
from adapters.evaluation.recording import record
from adapters.evaluation.scorecard import Comparison, Item, compare, sample, score
from adapters.intake.preflight import check_adapter
from adapters.methods.table import method
from adapters.prompts import PromptTemplate
from adapters.registry import PROBE, Registry, write_whole
from adapters.tuning import recipe as recipes
from adapters.tuning.memory import check_fits
from adapters.tuning.progress import Progress
from adapters.tuning.request import RunRequest, data_file, read_request

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

RESULT, FAILURE, SECONDS, LOCK = "result.json", "failure.json", "seconds.json", "run.lock"
BASELINE, ADAPTED, ADAPTER, ADAPTER_REF = "baseline.json", "adapted.json", "adapter", "adapter.json"
LONGEST_ANSWER_TOKENS = 256
"""Answers are cut here when they are scored."""


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    digest12: str
    better: bool
    scorecard: dict[str, Any]
    seconds: dict[str, float]
    """Per stage, summed over all processes that worked on the run."""


@dataclass(frozen=True, slots=True)
class Material:
    """The data, ready: what is learned, what is watched, what is asked, and what stands around every question."""

    data: Dataset
    facts: bases.BaseFacts
    tokenizer: PreTrainedTokenizerBase
    template: PromptTemplate | None
    baseline_template: PromptTemplate | None
    train: list[Encoded]
    validation: list[Encoded]
    scored: list[Example]
    held_out: int
    answer_tokens: int


def execute(folder: Path, stop: threading.Event | None = None, said: Callable[[str], None] = lambda stage: None) -> Result:
    """Does the run, or what is left of it; a finished run's result is read. Only one process can be at it.

    `said` hears the name of each stage as it begins; metrics.jsonl has that and everything else.
    Raises Interrupted, resumable, after `stop` was set; every other error is also left in failure.json.
    """
    with _locked(folder):
        if (folder / RESULT).is_file():
            return Result(**json.loads((folder / RESULT).read_bytes()))
        (folder / FAILURE).unlink(missing_ok=True)
        progress = Progress(folder, stop)
        try:
            return _work(folder, read_request(folder), progress, said)
        except Interrupted:
            raise
        except Exception as error:
            code, param = (error.code, error.param) if isinstance(error, GraftError) else ("internal_error", None)
            message = error.message if isinstance(error, GraftError) else f"{type(error).__name__}: {error}"
            write_whole(folder / FAILURE, json.dumps({"code": code, "message": message, "param": param}))
            raise
        finally:
            progress.close()


def _work(folder: Path, request: RunRequest, progress: Progress, said: Callable[[str], None]) -> Result:
    stage = _Stages(folder, progress, said)
    with stage("read"):
        data = open_dataset(
            data_file(folder, request),
            prompt_column=request.prompt_column, completion_column=request.completion_column, shown_as=request.data_name,
        )  # fmt: skip
        recipe = request.recipe
        parts = split(data, seed=recipe.seed, validation=recipe.validation_share, held_out=recipe.held_out_share)
    with stage("fit"):
        material = _fit(request, data, parts, progress)
    model = _Model(request, material, progress)
    with stage("baseline"):
        before = _stored(folder / BASELINE, lambda: model.answers(material.baseline_template), progress)
    if method(recipe.method).trains:
        with stage("training"):
            if not (folder / PROBE).is_file():
                model.train(folder)
    with stage("scorecard"):
        after = _stored(folder / ADAPTED, lambda: model.answers(material.template), progress)
        comparison = compare(before, after, held_out=material.held_out, seed=recipe.seed)
    adapter, probe = None, None
    if method(recipe.method).trains:
        with stage("check"):
            check_adapter(folder / ADAPTER, request.base_folder, request.max_rank)
            adapter = AdapterRef(**json.loads((folder / ADAPTER_REF).read_bytes()))
            probe = json.loads((folder / PROBE).read_bytes())
    with stage("draft"):
        draft = _draft(request, material, adapter, comparison)
        Registry(request.registry).add(draft, folder / ADAPTER if adapter else None, probe)
    result = Result(draft.name, draft.digest[:12], comparison.better, comparison.to_json(), stage.seconds)
    write_whole(folder / RESULT, json.dumps(dataclasses.asdict(result), indent=1))
    return result


def _fit(request: RunRequest, data: Dataset, parts: Splits, progress: Progress) -> Material:
    """Tokens of every row, rows that are too long left out, and a stop in a second if memory will not do."""
    recipe, facts = request.recipe, bases.facts(request.base_folder)
    tokenizer = bases.open_tokenizer(request.base_folder)
    adapts = method(recipe.method)
    template = adapts.prompt(request.template, parts.train, recipe)
    # what trains is compared with the base under the same prompt; what only prompts, with the base left alone
    baseline_template = template if adapts.trains else None
    longest = min(recipe.max_length, facts.context)
    train, long_train = encode_all(tokenizer, parts.train, template, longest)
    validation, long_validation = encode_all(tokenizer, parts.validation, template, longest)
    long_held_out = set(encode_all(tokenizer, parts.held_out, template, longest)[1])
    held_out = [example for example in parts.held_out if example.line not in long_held_out]
    too_long = len(long_train) + len(long_validation) + len(long_held_out)
    if not (train and validation and held_out):
        raise InvalidInput(
            f"{too_long} of {len(data.examples)} rows are longer than {longest} tokens, and too few are left; "
            "raise max_length, or shorten them",
            param="max_length",
        )
    needed = check_fits(
        facts, recipe.method, rank=recipe.rank, micro_batch_size=recipe.micro_batch_size,
        sequence_length=max(len(row.input_ids) for row in train), bytes_per_weight=_bytes_per_weight(),
    )  # fmt: skip
    progress.event(
        "data", rows=len(data.examples), train=len(train), validation=len(validation), held_out=len(held_out),
        too_long=too_long, too_long_lines=sorted([*long_train, *long_validation, *long_held_out])[:20],
        memory_gib=round(needed.gib, 2),
    )  # fmt: skip
    answer_tokens = min(LONGEST_ANSWER_TOKENS, max(row.supervised for row in train) + 4)
    scored = sample(held_out, recipe.scored_rows, recipe.seed)
    return Material(
        data, facts, tokenizer, template, baseline_template, train, validation, scored, len(held_out), answer_tokens
    )


class _Model:
    """The base in memory, loaded when first needed, then the adapted one in its place."""

    def __init__(self, request: RunRequest, material: Material, progress: Progress) -> None:
        self.request, self.material, self.progress = request, material, progress
        self._model: nn.Module | None = None

    def base(self) -> Any:
        if self._model is None:
            from adapters.tuning import device

            self._model = bases.open_model(self.request.base_folder, device.dtype()).to(device.device())
        return self._model

    def answers(self, template: PromptTemplate | None) -> list[Item]:
        from adapters.tuning import device

        material, model, watch = self.material, self.base(), self.progress.raise_if_stopped
        rows, _ = encode_all(material.tokenizer, material.scored, template, material.facts.context)
        losses = measure(model, rows, device.device(), between=watch)
        completer = LocalCompleter(model, material.tokenizer, max_new_tokens=material.answer_tokens, between=watch)
        return score(completer, losses, material.scored, template)

    def train(self, folder: Path) -> None:
        """Leaves the adapter's files in the folder. Training that had ended before only reads its best weights."""
        from adapters.tuning.trainer import train

        weights = method(self.request.recipe.method).weights
        if weights is None:
            raise InvalidInput(f"{self.request.recipe.method} does not train", param="method")
        self._model = weights.prepare(self.base(), self.request.recipe)
        outcome = train(self._model, self.material.train, self.material.validation, self.request.recipe, self.progress)
        self.progress.event("trained", **dataclasses.asdict(outcome))
        beside = folder / f".{ADAPTER}"
        for stale in (beside, folder / ADAPTER):
            shutil.rmtree(stale, ignore_errors=True)
        beside.mkdir()
        ref = weights.save(self._model, beside, self.request.base)
        write_whole(folder / ADAPTER_REF, json.dumps(dataclasses.asdict(ref)))
        os.rename(beside, folder / ADAPTER)
        probe = record(self._model, self.material.validation, between=self.progress.raise_if_stopped)
        self.progress.event("probe", rows=len(probe.rows), shift_nats=round(probe.shift, 2))
        write_whole(folder / PROBE, json.dumps(probes.to_json(probe)))


class _Stages:
    """Says which stage begins, and keeps how long each took, over all attempts."""

    def __init__(self, folder: Path, progress: Progress, said: Callable[[str], None]) -> None:
        self.file, self.progress, self.said = folder / SECONDS, progress, said
        self.seconds: dict[str, float] = json.loads(self.file.read_bytes()) if self.file.is_file() else {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.progress.raise_if_stopped()
        self.progress.event("stage", stage=name)
        self.said(name)
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 2)
            write_whole(self.file, json.dumps(self.seconds))


def _stored(file: Path, make: Callable[[], Sequence[Item]], progress: Progress) -> Sequence[Item]:
    """The scored answers in the file, made and written first where they are not there yet."""
    if not file.is_file():
        items = make()
        write_whole(file, json.dumps([dataclasses.asdict(item) for item in items], indent=1))
        means = {name: sum(item.values[name] for item in items) / len(items) for name in items[0].values}
        progress.event("scored", arm=file.stem, n=len(items), **means)
    return [Item(**raw | {"loss": RowLoss(**raw["loss"])}) for raw in json.loads(file.read_bytes())]


def _draft(request: RunRequest, material: Material, adapter: AdapterRef | None, comparison: Comparison) -> AdaptedModel:
    lineage = Lineage(
        method=request.recipe.method, dataset=material.data.fingerprint, recipe=recipes.to_json(request.recipe),
        run=request.run_id, scorecard=comparison.to_json(), base_digest=material.facts.digest,
        code_version=_code_version(), created=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    # greedy unless the caller says otherwise: that is how the scorecard's answers were made
    sampling = Sampling(temperature=0.0)
    return AdaptedModel(request.name, 0, request.base, adapter, material.template, sampling=sampling, lineage=lineage)


def _code_version() -> str | None:
    try:
        return version("graft-llm")
    except PackageNotFoundError:  # run from a source tree
        return None


def _bytes_per_weight() -> int:
    from adapters.tuning import device

    return device.dtype().itemsize


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    read_request(folder)  # a folder that is no run gets no lock file
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another process is at work on {folder}; wait for it, or stop it", param="run") from None
        yield
