"""Accepting a bake-off, whoever asks: what can be checked now is checked, rows are set aside for good, then there is a job.

Reads the data and loads no model. Knows neither the command line nor HTTP.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.data.dataset import FEWEST_ROWS, Splits, open_dataset, split
from adapters.errors import InvalidInput
from adapters.evaluation.scorecard import sample
from advisor import utility
from advisor.bakeoff.arms import without_a_chance
from advisor.candidates import CANDIDATES
from gateway.bakeoff.request import Request, create
from gateway.jobs.job import Job
from gateway.jobs.store import JobStore
from gateway.reserved import free_name
from gateway.settings import Settings
from gateway.stores.filling import Filled

KIND = "bakeoff"
MOST_FROZEN = 150
"""Rows that every arm is asked; more would tell smaller differences, and every arm would pay for them."""
SEED = 0
"""Of the rows set aside: the same file has the same ones, so what was played before counts."""
PUBLISH = ("better", "always", "never")
LONGEST_BUDGET_S = 7 * 86_400.0

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody wants played."""

    data: Path
    name: str
    base: str
    """By the name it is served under."""
    base_folder: Path
    methods: Sequence[str] = ()
    budget_s: float | None = None
    profile: str = utility.DEFAULT
    publish: str = "better"
    documents: Filled | None = None
    data_name: str = ""
    """What the data file is called in errors, if not by its own name."""
    evidence: Sequence[Mapping[str, Any]] = ()


def submit(settings: Settings, jobs: JobStore, order: Order) -> Job:
    """Raises DataError or DataErrors for rows that cannot be read, InvalidInput that names the field for all else."""
    parts = checked(settings, order, has_documents=order.documents is not None)
    rows = [*parts.train, *parts.validation]
    job_id = f"job-{secrets.token_hex(6)}"
    documents = order.documents
    request = Request(
        name=order.name, base=order.base, base_folder=order.base_folder, methods=tuple(order.methods), budget_s=order.budget_s,
        profile=order.profile, store=documents.store if documents else "", is_own_store=bool(documents and documents.is_new),
        documents=tuple(documents.sources) if documents else (), evidence=tuple(dict(one) for one in order.evidence),
    )  # fmt: skip
    frozen = sample(parts.held_out, MOST_FROZEN, SEED)
    create(settings.runs / job_id, request, sample(rows, len(rows), SEED), frozen)
    payload: dict[str, Any] = {"name": order.name, "run": str(settings.runs / job_id), "publish": order.publish}
    if documents is not None:
        payload |= {"store": documents.store, "is_own_store": documents.is_new}
    return jobs.submit(KIND, payload, job_id=job_id)


def checked(settings: Settings, order: Order, *, has_documents: bool) -> Splits:
    """The order's rows, divided, once nothing is wrong with it; makes nothing. Raises as `submit` does."""
    _check(settings, order, has_documents=has_documents)
    data = open_dataset(order.data, shown_as=order.data_name or None)
    if any(example.is_document or example.rejected is not None for example in data.examples):
        raise InvalidInput(
            "a bake-off needs rows with a question and its answer; this file holds text or preferences", param="training_file"
        )
    parts = split(data, seed=SEED)
    left = len(parts.train) + len(parts.validation)
    if left < FEWEST_ROWS:
        raise InvalidInput(
            f"{len(data.examples)} rows are too few for a bake-off: {left} would be left to learn from, and {FEWEST_ROWS} "
            "are needed",
            param="training_file",
        )
    return parts


def seconds_of(written: str) -> float:
    """Of a time as `90s`, `15m`, `1h` or plain seconds. Raises InvalidInput."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", written.strip().lower())
    if found is None:
        raise InvalidInput(f"'{written}' is no time; write 90s, 15m or 1h", param="budget")
    return float(found[1]) * _UNITS[found[2] or "s"]


def _check(settings: Settings, order: Order, *, has_documents: bool) -> None:
    free_name(order.name)
    if order.name in {known.name for known in settings.bases}:
        raise InvalidInput(f"'{order.name}' is the name of a base; choose another for the winner", param="name")
    utility.weights_of(order.profile)
    if order.publish not in PUBLISH:
        raise InvalidInput(f"publish must be one of {', '.join(PUBLISH)}, not '{order.publish}'", param="publish")
    if order.budget_s is not None and not 0 < order.budget_s <= LONGEST_BUDGET_S:
        raise InvalidInput(f"a budget lies above 0 and at most {LONGEST_BUDGET_S:,.0f} seconds", param="budget_s")
    for name in order.methods:
        if name not in CANDIDATES:
            raise InvalidInput(f"there is no method '{name}'; choose from {', '.join(CANDIDATES)}", param="methods")
        why = without_a_chance(name, FEWEST_ROWS, has_documents=has_documents)
        if why is not None:
            raise InvalidInput(f"{name} cannot be played: {why}", param="methods")
