"""`graft tune`: puts a tuning job into the durable queue, watches it, says what came of it.

The job runs in a process of its own, so closing this terminal ends nothing.
"""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from adapters import bases
from adapters.adapted_model import checked_name
from adapters.data.dataset import open_dataset
from adapters.errors import InvalidInput
from adapters.prompts import PromptTemplate
from adapters.tuning.recipe import Recipe, defaults
from adapters.tuning.request import RunRequest, create
from gateway import settings
from gateway.cli.base import located
from gateway.cli.desk import Desk
from gateway.cli.progress import ensure_runner, follow, report
from gateway.cli.terminal import err
from gateway.jobs.store import Job


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Knobs:
    """What may be turned; what is left out gets a default for this data and base.

    Parameters
    ----------
    epochs
        Times through the training rows.
    learning_rate
        Highest learning rate.
    rank
        LoRA rank.
    batch_size
        Rows to one optimiser step.
    max_length
        Tokens to a row at most.
    shots
        Examples in the prompt, for few_shot.
    seed
        Decides the splits, the order and the start.
    """

    epochs: int | None = None
    learning_rate: float | None = None
    rank: int | None = None
    batch_size: int | None = None
    max_length: int | None = None
    shots: int | None = None
    seed: int | None = None


def tune(
    file: Path,
    *,
    name: str,
    base: str | None = None,
    method: str = "lora",
    knobs: Knobs = Knobs(),
    system: str | None = None,
    prompt_column: str | None = None,
    completion_column: str | None = None,
    publish: Literal["better", "always", "never"] = "better",
    detach: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Make an adapted model from a data file, score it on held-out rows, publish it if it is better than the base.

    Parameters
    ----------
    file
        JSONL (messages, or prompt and completion) or CSV.
    name
        What callers will put into `model`.
    base
        A base of the settings, by its name. Default: the first.
    method
        lora, or few_shot (fixed examples in the prompt, nothing trained).
    system
        System text that the adapted model carries; it is trained with it and served with it.
    prompt_column
        CSV column of the question.
    completion_column
        CSV column of the answer.
    publish
        When the name shall point at it: when it is better, always, or never (it stays a draft).
    detach
        Print the job's id and leave.
    json
        Print the outcome as JSON.
    """
    desk = Desk()
    template = PromptTemplate(system=system) if system else None
    columns, turned = (prompt_column, completion_column), dataclasses.asdict(knobs)
    job = submit(desk, file, name, base=base, method=method, knobs=turned, template=template, columns=columns, publish=publish)
    ensure_runner(desk)
    if detach:
        print(job.id)
        return
    if not json:
        err.print(f"{job.id} is in the queue", markup=False)
    report(follow(desk, job, quiet=json), json=json)


def submit(
    desk: Desk,
    file: Path,
    name: str,
    *,
    base: str | None = None,
    method: str = "lora",
    knobs: dict[str, Any] | None = None,
    template: PromptTemplate | None = None,
    columns: tuple[str | None, str | None] = (None, None),
    publish: str = "better",
) -> Job:
    """Checks everything that can be checked now, writes the run's folder, and accepts the job."""
    checked_name(name)
    setting = _base(desk.settings, base)
    if name in {known.name for known in desk.settings.bases}:
        raise InvalidInput(f"'{name}' is the name of a base; choose another for the adapted model", param="name")
    prompt_column, completion_column = columns
    dataset = open_dataset(file, prompt_column=prompt_column, completion_column=completion_column)
    base_folder = located(setting, desk.settings).folder
    wanted = {knob: value for knob, value in (knobs or {}).items() if value is not None}
    recipe = _recipe(method, len(dataset.examples), bases.facts(base_folder), wanted)
    job_id = f"job-{secrets.token_hex(6)}"
    folder = desk.settings.runs / job_id
    request = RunRequest(
        name=name, base=setting.name, base_folder=base_folder, registry=desk.settings.models, recipe=recipe,
        template=template, max_rank=desk.settings.engine_max_lora_rank or settings.RANK_STEPS[-1],
        prompt_column=prompt_column, completion_column=completion_column,
    )  # fmt: skip
    create(folder, request, file)
    return desk.jobs.submit("tune", {"name": name, "run": str(folder), "publish": publish}, job_id=job_id)


def _base(setting: settings.Settings, said: str | None) -> settings.BaseSetting:
    for known in setting.bases:
        if said in (None, known.name):
            return known
    known_names = ", ".join(known.name for known in setting.bases)
    raise InvalidInput(f"there is no base '{said}' in the settings (there are: {known_names})", param="base")


def _recipe(method: str, rows: int, facts: bases.BaseFacts, wanted: dict[str, Any]) -> Recipe:
    return dataclasses.replace(defaults(method, rows, facts), **wanted)
