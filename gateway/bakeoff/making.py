"""Makes an arm's draft by the run machinery, in a process of its own that goes on where a killed one was.

The run's draft lands in a registry of the arm's own, so nothing of it is seen before it is to be asked. Knows no bake-off.
"""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.adapted_model import AdaptedModel
from adapters.errors import Interrupted, InvalidInput
from adapters.registry import Registry
from adapters.tuning.recipe import Recipe
from adapters.tuning.request import RunRequest
from adapters.tuning.request import create as create_run
from advisor.bakeoff.contract import Unplayable
from gateway import children
from gateway.bakeoff.request import Request
from gateway.db.lending import Lending
from gateway.jobs.metrics import Tail, read
from gateway.jobs.runner import EX_TEMPFAIL, engines_leave
from gateway.jobs.store import JobStore
from gateway.jobs.tasks import KINDS
from gateway.settings import RANK_STEPS, Settings
from gateway.tuning import encoder_of

RUN, DRAFTS, RESULT, FAILURE = "run", "drafts", "result.json", "failure.json"
LOOK_S = 0.3
GRACE_S = 5.0
"""What a run gets to write its checkpoint, within what this process gets itself when it is asked to stop."""


@dataclass(frozen=True, slots=True)
class Made:
    draft: AdaptedModel
    drafts: Registry
    """Where it lies."""
    run: Path
    seconds: float
    """Of all stages, over all processes that worked on it."""
    validation: float | None
    """How it did on its validation rows, the higher the better."""
    chunking: dict[str, int] | None
    """How its documents want to be cut; None where it searches none."""


def place_run(place: Path, request: Request, recipe: Recipe, settings: Settings, rows: Path, frozen: Path) -> Path:
    """The run's folder, made if it is not there. Raises Unplayable for what these rows or this set-up cannot make."""
    folder = place / RUN
    if folder.is_dir():
        return folder
    try:
        asked = RunRequest(
            name=request.name, base=request.base, base_folder=request.base_folder, registry=place / DRAFTS, recipe=recipe,
            max_rank=settings.engine_max_lora_rank or RANK_STEPS[-1], encoder=encoder_of(settings, recipe),
            store=request.store if recipe.method in ("rag", "rag+lora") else "",
        )  # fmt: skip
        create_run(folder, asked, rows, documents=request.documents if asked.store else (), held_out=frozen)
    except InvalidInput as wrong:
        raise Unplayable(wrong.message) from wrong
    return folder


async def make(run: Path, settings: Settings, job_id: str, told: Callable[[dict[str, Any]], None]) -> Made:
    """Does the run, or what is left of it; `told` hears what it says of its course.

    Raises Unplayable for a run that fails, Interrupted for one that was stopped by somebody else. Cancelled, it ends the run's
    process, which keeps its checkpoint.
    """
    if not (run / RESULT).is_file():
        async with _accelerator(settings, job_id):
            await _work(run, settings, told)
    result: dict[str, Any] = json.loads((run / RESULT).read_bytes())
    drafts = Registry(run.parent / DRAFTS)
    fitted = result["scorecard"].get("fitted") or {}
    return Made(
        drafts.read(result["name"], result["digest12"]), drafts, run, sum(result["seconds"].values()),
        _validation(run, fitted), fitted.get("chunking"),
    )  # fmt: skip


async def _work(run: Path, settings: Settings, told: Callable[[dict[str, Any]], None]) -> None:
    tail = Tail(run, (run / "metrics.jsonl").stat().st_size if (run / "metrics.jsonl").is_file() else 0)
    process = await children.start(KINDS["tune"].argv({"run": str(run)}, settings))
    try:
        while not await _has_ended(process):
            for event in tail.new():
                told(event)
    finally:
        if process.returncode is None:
            await asyncio.shield(children.end(process, grace_s=GRACE_S))
    if process.returncode == EX_TEMPFAIL:
        raise Interrupted("the run was stopped from outside; the bake-off goes on with it when it is started again")
    if process.returncode:
        raise Unplayable(_failure(run, process.returncode), goes_on=process.returncode == 1)


async def _has_ended(process: Process) -> bool:
    try:
        await asyncio.wait_for(process.wait(), LOOK_S)
    except TimeoutError:
        return False
    return True


def _failure(run: Path, status: int) -> str:
    if status == 1 and (run / FAILURE).is_file():
        return str(json.loads((run / FAILURE).read_bytes())["message"])
    return f"its process ended with status {status}" + (", perhaps for want of memory" if status == -9 else "")


def _validation(run: Path, fitted: dict[str, Any]) -> float | None:
    """The least validation loss of what trained, with its sign turned; or the score of what was chosen."""
    losses = [event["loss"] for event in read(run) if event["event"] == "validation"]
    if losses:
        return -float(min(losses))
    chosen = [one["mean"] for one in fitted.get("candidates", ()) if one.get("name") == fitted.get("chosen")]
    return float(chosen[0]) if chosen else None


@asynccontextmanager
async def _accelerator(settings: Settings, job_id: str) -> AsyncIterator[None]:
    """Engines are away while this lasts, where they would be in the way; they come back to be asked."""
    if not await asyncio.to_thread(engines_leave, settings):
        yield
        return
    from gateway.db.database import open_database

    database = open_database(settings.database_url)
    jobs, lending = JobStore(database), Lending(database)
    jobs.want_accelerator(jobs.get(job_id), True)
    try:
        while True:
            if await asyncio.to_thread(lending.is_free_for, job_id):
                break
            await asyncio.sleep(LOOK_S)  # the gateway, another process, says so in the database
        yield
    finally:
        jobs.want_accelerator(jobs.get(job_id), False)
