"""One tuning, from a data file to a draft in the registry, in stages whose results lie in the run's folder.

    metrics.jsonl    what happened, line by line      baseline.json, adapted.json   every scored answer of both arms
    references.json  what the base says of itself     forgetting.json               how it stands to that afterwards
    answers.jsonl, candidates.json, pool/             of methods that choose their prompt: what was tried, and from what
    fitted.json      what they chose                  retrieval/, contexts.json      documents as searched, rows as asked
    checkpoint.safetensors, best.safetensors, epoch-<step>.safetensors              weights on the way
    kept/best, kept/step-<n>   adapters with adapter.json (what they are) and probe.json (what an engine must answer)
    seconds.json     per stage                        result.json or failure.json   the end; run.lock while it works

Killed at any moment it goes on where it was: a finished stage is read, not repeated. Knows no queue and no gateway.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from adapters.adapted_model import AdaptedModel, Lineage, Sampling
from adapters.errors import Conflict, GraftError, Interrupted
from adapters.evaluation.loss import RowLoss
from adapters.evaluation.scorecard import Item, compare
from adapters.intake.preflight import check_adapter
from adapters.methods.contract import Fitted, Method
from adapters.methods.table import method
from adapters.registry import Registry, write_whole
from adapters.tuning import recipe as recipes
from adapters.tuning.choosing import ChoosingMaking
from adapters.tuning.contexts import taught
from adapters.tuning.heads import HeadMaking
from adapters.tuning.making import BEST_STEP, Made, Making, made, place
from adapters.tuning.material import Material, fit, read
from adapters.tuning.progress import Progress
from adapters.tuning.recipe import Recipe
from adapters.tuning.request import RunRequest, read_request
from adapters.tuning.several import ONE, Processes, check_devices, used

RESULT, FAILURE, SECONDS, LOCK = "result.json", "failure.json", "seconds.json", "run.lock"
GREEDY = Sampling(temperature=0.0)
"""Unless the caller says otherwise: that is how the scorecard's answers were made."""
BASELINE, ADAPTED, FORGOTTEN = "baseline.json", "adapted.json", "forgetting.json"


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    digest12: str
    better: bool
    scorecard: dict[str, Any]
    seconds: dict[str, float]
    """Per stage, summed over all processes that worked on the run."""
    checkpoints: dict[str, str] = field(default_factory=dict)
    """Names of the kept ends of epochs, oldest first, each with the first twelve digits of its digest."""


def execute(
    folder: Path, stop: threading.Event | None = None, said: Callable[[str], None] = lambda stage: None,
    processes: Processes = ONE,
) -> Result:  # fmt: skip
    """Does the run, or what is left of it; a finished run's result is read. Only one process can be at it.

    Where `processes` are several, it starts that many to train, and holds no model meanwhile. `said` hears the name of each
    stage as it begins; metrics.jsonl has that and everything else.
    Raises Interrupted, resumable, after `stop` was set; every other error is also left in failure.json.
    """
    with _locked(folder):
        if (folder / RESULT).is_file():
            return Result(**json.loads((folder / RESULT).read_bytes()))
        (folder / FAILURE).unlink(missing_ok=True)
        progress = Progress(folder, stop)
        try:
            return _work(folder, read_request(folder), progress, said, processes)
        except Interrupted:
            raise
        except Exception as error:
            code, param = (error.code, error.param) if isinstance(error, GraftError) else ("internal_error", None)
            message = error.message if isinstance(error, GraftError) else f"{type(error).__name__}: {error}"
            write_whole(folder / FAILURE, json.dumps({"code": code, "message": message, "param": param}))
            raise
        finally:
            progress.close()


def _work(
    folder: Path, request: RunRequest, progress: Progress, said: Callable[[str], None], asked: Processes
) -> Result:  # fmt: skip
    stage = _Stages(folder, progress, said)
    recipe = request.recipe
    processes = used(asked, recipe.method)
    check_devices(processes)
    with stage("read"):
        data, parts = read(folder, request)
    with stage("fit"):
        material = fit(folder, request, data, parts, progress, processes)
    fitted = Fitted(material.template, GREEDY, None, None, {})
    if method(recipe.method).contexts is not None:
        with stage("choosing"):
            fitted, parts = taught(material, parts, progress)
        with stage("fit"):
            material = fit(folder, request, data, parts, progress, processes)
    making = _making(method(recipe.method), recipe)(material, progress, processes)
    with stage("baseline"):
        before = _stored(folder / BASELINE, making.baseline, progress)
    if method(recipe.method).trains:
        with stage("training"):
            if place(folder, BEST_STEP).is_dir():
                making.reopen()
            else:
                making.train()
    if isinstance(making, ChoosingMaking):
        with stage("choosing"):
            fitted = making.choose()
    with stage("scorecard"):
        after = _stored(folder / ADAPTED, making.adapted, progress)
        comparison = compare(before, after, held_out=material.held_out, seed=recipe.seed)
        scorecard = comparison.to_json() | _forgetting(folder, making, progress)
        if fitted.report:
            scorecard["fitted"] = fitted.report
    kept = made(folder) if method(recipe.method).trains else []
    with stage("check"):
        for one in kept:
            if one.ref.kind == "lora":
                check_adapter(one.folder, request.base_folder, request.max_rank)
    with stage("draft"):
        drafts = _drafts(request, material, fitted, kept, scorecard)
        registry = Registry(request.registry)
        for draft, adapter in drafts:
            registry.add(draft, adapter.folder if adapter else None, adapter.probe if adapter else None, fitted.pool)
            if adapter is not None and adapter.step != BEST_STEP:
                progress.event("checkpoint", step=adapter.step, name=draft.name)
    best, checkpoints = drafts[-1][0], {draft.name: draft.digest[:12] for draft, _ in drafts[:-1]}
    result = Result(best.name, best.digest[:12], comparison.better, scorecard, stage.seconds, checkpoints)
    write_whole(folder / RESULT, json.dumps(dataclasses.asdict(result), indent=1))
    return result


def _making(adapts: Method, recipe: Recipe) -> type[Making]:
    if adapts.classifies:
        return HeadMaking
    return ChoosingMaking if adapts.fitter is not None and adapts.fitter.searches(recipe) else Making


def _forgetting(folder: Path, making: Making, progress: Progress) -> dict[str, Any]:
    """The scorecard's part on it, measured once; empty where no weights of the base are changed."""
    if not making.watches_forgetting:
        return {}
    if not (folder / FORGOTTEN).is_file():
        measured = making.forgetting()
        write_whole(folder / FORGOTTEN, json.dumps(measured))
        progress.event("forgetting", **{key: measured[key] for key in ("nats_per_token", "before", "after", "n")})
    return {"forgetting": json.loads((folder / FORGOTTEN).read_bytes())}


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


def _drafts(
    request: RunRequest, material: Material, fitted: Fitted, kept: Sequence[Made], scorecard: dict[str, Any]
) -> list[tuple[AdaptedModel, Made | None]]:
    """The adapted model that the run was for, last, and before it those of its kept checkpoints."""
    lineage = Lineage(
        method=request.recipe.method, dataset=material.data.fingerprint, recipe=recipes.to_json(request.recipe),
        run=request.run_id, scorecard=scorecard, base_digest=material.facts.digest,
        code_version=_code_version(), created=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    retrieval = fitted.retrieval and dataclasses.replace(fitted.retrieval, store=request.store)
    bare = AdaptedModel(request.name, 0, request.base, None, fitted.template, retrieval, fitted.sampling, lineage)
    if not kept:
        return [(bare, None)]
    drafts: list[tuple[AdaptedModel, Made | None]] = []
    for adapter in kept:
        is_best = adapter.step == BEST_STEP
        name = request.name if is_best else f"{request.name}:ckpt-step-{adapter.step}"
        # the scorecard is the best's; a checkpoint was not scored
        said = lineage if is_best else dataclasses.replace(lineage, scorecard={}, parent=request.name)
        drafts.append((dataclasses.replace(bare, name=name, adapter=adapter.ref, lineage=said), adapter))
    return drafts


def _code_version() -> str | None:
    try:
        return version("graft-llm")
    except PackageNotFoundError:  # run from a source tree
        return None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    read_request(folder)  # a folder that is no run gets no lock file
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another process is at work on {folder}; wait for it, or stop it", param="run") from None
        yield
