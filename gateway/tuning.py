"""Accepting work for the tuner, whoever asks: all that can be checked now is checked, then there is a run and a job.

Knows neither the command line nor HTTP; reads the data, and loads no model.
"""

from __future__ import annotations

import dataclasses
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters import bases
from adapters.data.dataset import open_dataset
from adapters.errors import GraftError, InvalidInput
from adapters.methods.table import method
from adapters.prompts import PromptTemplate
from adapters.tuning.recipe import Recipe, defaults
from adapters.tuning.request import RunRequest, create
from adapters.tuning.several import Processes, used
from gateway.jobs.job import Job
from gateway.jobs.store import JobStore
from gateway.reserved import free_name
from gateway.retrieval import encoders
from gateway.settings import RANK_STEPS, Settings
from gateway.stores.filling import Filled


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody wants tuned."""

    data: Path
    name: str
    """Of the adapted model."""
    base: str
    """By the name it is served under."""
    base_folder: Path
    method: str = "lora"
    knobs: Mapping[str, Any] = field(default_factory=dict)
    """Fields of a recipe that shall not have their defaults."""
    rate_multiplier: float = 1.0
    """Of the default learning rate."""
    template: PromptTemplate | None = None
    prompt_column: str | None = None
    completion_column: str | None = None
    validation: Path | None = None
    replay: Path | None = None
    publish: str = "better"
    data_name: str = ""
    """What the data file is called in errors, if not by its own name."""
    validation_name: str = ""
    documents: Filled | None = None
    """What is searched with every question."""


def submit(settings: Settings, jobs: JobStore, order: Order) -> Job:
    """Checks everything that can be checked now, writes the run's folder, and accepts the job. Raises as `place` does."""
    job_id = f"job-{secrets.token_hex(6)}"
    place(settings, order, job_id)
    return jobs.submit("tune", payload(settings, order, job_id), job_id=job_id)


def place(settings: Settings, order: Order, job_id: str) -> RunRequest:
    """Makes the run's folder, or raises and leaves nothing: DataError or DataErrors for rows that cannot be learned from,
    InvalidInput that names the field for a wrong name, recipe or base."""
    free_name(order.name)
    if order.name in {known.name for known in settings.bases}:
        raise InvalidInput(f"'{order.name}' is the name of a base; choose another for the adapted model", param="name")
    used(Processes(settings.jobs_processes, settings.jobs_sharding), order.method)
    data = open_dataset(
        order.data, prompt_column=order.prompt_column, completion_column=order.completion_column,
        shown_as=order.data_name or None,
    )  # fmt: skip
    facts = bases.facts(order.base_folder)
    recipe = recipe_for(order.method, len(data.examples), facts, order.knobs, order.rate_multiplier)
    recipe = as_long_as_the_engine_reads(recipe, settings, order.knobs)
    request = RunRequest(
        name=order.name, base=order.base, base_folder=order.base_folder, registry=settings.models,
        recipe=recipe, encoder=encoder_of(settings, recipe),
        template=order.template, max_rank=settings.engine_max_lora_rank or RANK_STEPS[-1],
        prompt_column=order.prompt_column, completion_column=order.completion_column,
        data_name=order.data_name, validation_name=order.validation_name,
        store=order.documents.store if order.documents else "",
    )  # fmt: skip
    folder = settings.runs / job_id
    documents = order.documents.sources if order.documents else ()
    written = create(folder, request, order.data, order.validation, order.replay, documents)
    try:
        _read_back(folder, written)
    except GraftError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return written


def payload(settings: Settings, order: Order, job_id: str) -> dict[str, Any]:
    """What the queue must know to do the job."""
    said = {"name": order.name, "run": str(settings.runs / job_id), "publish": order.publish}
    if order.documents is None:
        return said
    return said | {"store": order.documents.store, "is_own_store": order.documents.is_new}


def recipe_for(name: str, rows: int, facts: bases.BaseFacts, wanted: Mapping[str, Any], rate_multiplier: float = 1.0) -> Recipe:
    """The defaults for this case with what was asked for; alpha follows a rank that was given without it."""
    recipe = defaults(name, rows, facts, wanted.get("objective"), wanted.get("variant"), wanted.get("weights"))
    turned = {"learning_rate": recipe.learning_rate * rate_multiplier, **wanted}
    if "rank" in wanted and "alpha" not in wanted:
        turned["alpha"] = 2 * wanted["rank"]
    return dataclasses.replace(recipe, **turned)


def as_long_as_the_engine_reads(recipe: Recipe, settings: Settings, wanted: Mapping[str, Any]) -> Recipe:
    """Prompts that are made longer by what is chosen for them must still be served."""
    most = settings.engine_max_model_len
    if method(recipe.method).chooser is None or recipe.max_length <= most:
        return recipe
    if "max_length" in wanted:
        raise InvalidInput(
            f"max_length {recipe.max_length} is more than the engine reads (engine.max_model_len is {most}); raise that, or "
            "leave max_length out",
            param="max_length",
        )
    return dataclasses.replace(recipe, max_length=most)


def encoder_of(settings: Settings, recipe: Recipe) -> Path | None:
    """Folder of the encoder that will serve what is chosen by vectors; None where nothing is."""
    fitter = method(recipe.method).chooser
    if fitter is None or not fitter.searches(recipe):
        return None
    found = encoders.chosen(settings.retrieval_encoder)
    if found.folder is None:
        raise InvalidInput(
            f"{recipe.method} encodes questions in its own process, and retrieval.encoder is a server's address; set it to a "
            "folder of the same encoder while the job is made",
            param="method",
        )
    return found.folder


def _read_back(folder: Path, request: RunRequest) -> None:
    """As the run itself will read it: splits, a validation file, and whether such rows can teach the objective."""
    from adapters.tuning.material import read  # not at start-up: it brings the scorecard's statistics along

    read(folder, request)
