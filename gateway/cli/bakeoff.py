"""`graft bakeoff`: plays methods against each other on a file's rows, through the running gateway, and names a winner.

The job runs in a process of its own, so closing this terminal ends nothing.
"""

from __future__ import annotations

import dataclasses
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from adapters.tuning.request import in_folder
from gateway.address import address
from gateway.bakeoff.ordering import Order, checked, seconds_of
from gateway.bakeoff.ordering import submit as accept
from gateway.cli.base import chosen, located
from gateway.cli.chat import not_running
from gateway.cli.desk import Desk
from gateway.cli.progress import ensure_runner, follow, report
from gateway.cli.terminal import err
from gateway.jobs.job import Job
from gateway.settings import Settings
from gateway.stores.filling import searched

LIVE_S = 5.0


def bakeoff(
    file: Path,
    *,
    name: str,
    base: str | None = None,
    docs: Path | None = None,
    store: str | None = None,
    methods: str | None = None,
    budget: str | None = None,
    profile: Literal["quality", "cost", "latency"] = "quality",
    publish: Literal["better", "always", "never"] = "better",
    detach: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Play methods against each other on held-out rows, by name through the gateway; publish the winner. Needs `graft serve`.

    Parameters
    ----------
    file
        JSONL, CSV, TSV or Parquet: rows with a question and its answer. A fifth is set aside and asked.
    name
        What callers will put into `model` to ask the winner.
    base
        A base of the settings, by its name. Default: the first.
    docs
        A folder of documents, or one, for rag and rag+lora; they become a vector store of the name.
    store
        A vector store that there is, by name or id, in place of docs.
    methods
        Which, with commas between: zero_shot, few_shot, knn_few_shot, many_shot, rag, head, prompt_tuning, lora, full,
        rag+lora. The base as it is is always among them. Default: those that an advice about the rows puts first.
    budget
        Time it may take, as 90s, 15m or 1h; what would not end in it is left out. Default: as long as it takes.
    profile
        What counts beside the score: quality, cost or latency.
    publish
        When the name shall point at the winner: when it is better than the base, always, or never (it stays a draft).
    detach
        Print the job's id and leave.
    json
        Print the outcome as JSON.
    """
    desk = Desk()
    wanted = tuple(word.strip() for word in methods.split(",") if word.strip()) if methods else ()
    job = submit(
        desk, file, name, base=base, docs=docs, store=store, methods=wanted, budget_s=budget and seconds_of(budget),
        profile=profile, publish=publish,
    )  # fmt: skip
    ensure_runner(desk)
    if detach:
        print(job.id)
        return
    if not json:
        err.print(f"{job.id} is in the queue", markup=False)
    report(follow(desk, job, quiet=json), json=json)


def submit(
    desk: Desk, file: Path, name: str, *, base: str | None = None, docs: Path | None = None, store: str | None = None,
    methods: Sequence[str] = (), budget_s: float | str | None = None, profile: str = "quality", publish: str = "better",
    evidence: Sequence[Mapping[str, Any]] = (),
) -> Job:  # fmt: skip
    """Checks all that can be checked now, the gateway last, and accepts the job. Raises Unavailable where none answers."""
    setting = chosen(desk.settings, base)
    order = Order(
        data=file, name=name, base=setting.name, base_folder=located(setting, desk.settings).folder, methods=methods,
        budget_s=None if budget_s is None else float(budget_s), profile=profile, publish=publish, evidence=evidence,
    )  # fmt: skip
    checked(desk.settings, order, has_documents=docs is not None or store is not None)
    if docs is not None:
        in_folder(docs)
    _check_live(desk.settings)
    with searched(desk.settings, name, docs=docs, store=store) as documents:
        return accept(desk.settings, desk.jobs, dataclasses.replace(order, documents=documents))


def _check_live(settings: Settings) -> None:
    try:
        with urllib.request.urlopen(f"{address(settings)}/health/live", timeout=LIVE_S):  # noqa: S310  # our own address
            return
    except (urllib.error.URLError, OSError):
        raise not_running(settings) from None
