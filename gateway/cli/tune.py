"""`graft tune`: puts a tuning job into the durable queue, watches it, says what came of it.

The job runs in a process of its own, so closing this terminal ends nothing.
"""

from __future__ import annotations

import dataclasses
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from adapters import bases
from adapters.adapted_model import checked_name
from adapters.data.dataset import open_dataset
from adapters.errors import InvalidInput
from adapters.prompts import PromptTemplate
from adapters.tuning.recipe import Recipe, choices, defaults
from adapters.tuning.request import RunRequest, create
from gateway import settings
from gateway.cli.base import chosen, located
from gateway.cli.desk import Desk
from gateway.cli.knobs import NOTHING_TURNED, Knobs, turned
from gateway.cli.progress import ensure_runner, follow, report
from gateway.cli.terminal import err, print_json
from gateway.jobs.store import Job


def tune(
    file: Path,
    *,
    name: str,
    base: str | None = None,
    method: str = "lora",
    knobs: Knobs = NOTHING_TURNED,
    recipe: Path | None = None,
    system: str | None = None,
    prompt_column: str | None = None,
    completion_column: str | None = None,
    validation: Path | None = None,
    replay: Path | None = None,
    publish: Literal["better", "always", "never"] = "better",
    preview: Annotated[bool, Parameter(negative="")] = False,
    detach: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Make an adapted model from a data file, score it on held-out rows, publish it if it is better than the base.

    Parameters
    ----------
    file
        JSONL, CSV, TSV, Parquet or text; the form of its rows is recognised.
    name
        What callers will put into `model`.
    base
        A base of the settings, by its name. Default: the first.
    method
        lora, qlora, full, head, prompt_tuning, continued_pretraining, or few_shot (examples in the prompt, nothing trained).
    recipe
        TOML file of knobs, by the names of their flags with underscores; a flag goes before it.
    system
        System text that the adapted model carries; it is trained with it and served with it.
    prompt_column
        CSV column of the question.
    completion_column
        CSV column of the answer.
    validation
        Rows to watch while it learns, in place of a share of the file.
    replay
        Rows to learn beside the file's, against forgetting; without it the base's own answers are taken.
    publish
        When the name shall point at it: when it is better, always, or never (it stays a draft).
    preview
        Show the first rows as the model will see them, and the recipe with its reasons; train nothing.
    detach
        Print the job's id and leave.
    json
        Print the outcome as JSON.
    """
    desk = Desk()
    template = PromptTemplate(system=system) if system else None
    columns, wanted = (prompt_column, completion_column), turned(knobs, recipe)
    if preview:
        _preview(desk, file, base, method, wanted, template, columns, json=json)
        return
    job = submit(
        desk, file, name, base=base, method=method, knobs=wanted, template=template, columns=columns, publish=publish,
        validation=validation, replay=replay,
    )  # fmt: skip
    ensure_runner(desk)
    if detach:
        print(job.id)
        return
    if not json:
        err.print(f"{job.id} is in the queue", markup=False)
    report(follow(desk, job, quiet=json), json=json)


def _preview(
    desk: Desk,
    file: Path,
    base: str | None,
    method: str,
    wanted: dict[str, Any],
    template: PromptTemplate | None,
    columns: tuple[str | None, str | None],
    *,
    json: bool,
) -> None:
    from gateway.cli import preview

    data = open_dataset(file, prompt_column=columns[0], completion_column=columns[1])
    folder = located(chosen(desk.settings, base), desk.settings).folder
    facts = bases.facts(folder)
    recipe = recipe_for(method, len(data.examples), facts, wanted)
    found = preview.look(data, folder, template, recipe)
    if json:
        print_json(preview.to_json(found, folder))
    else:
        preview.show(found, folder, recipe, choices(method, len(data.examples), facts, recipe.objective))


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
    validation: Path | None = None,
    replay: Path | None = None,
) -> Job:
    """Checks everything that can be checked now, writes the run's folder, and accepts the job."""
    checked_name(name)
    setting = chosen(desk.settings, base)
    if name in {known.name for known in desk.settings.bases}:
        raise InvalidInput(f"'{name}' is the name of a base; choose another for the adapted model", param="name")
    prompt_column, completion_column = columns
    dataset = open_dataset(file, prompt_column=prompt_column, completion_column=completion_column)
    base_folder = located(setting, desk.settings).folder
    recipe = recipe_for(method, len(dataset.examples), bases.facts(base_folder), knobs or {})
    job_id = f"job-{secrets.token_hex(6)}"
    folder = desk.settings.runs / job_id
    request = RunRequest(
        name=name, base=setting.name, base_folder=base_folder, registry=desk.settings.models, recipe=recipe,
        template=template, max_rank=desk.settings.engine_max_lora_rank or settings.RANK_STEPS[-1],
        prompt_column=prompt_column, completion_column=completion_column,
    )  # fmt: skip
    create(folder, request, file, validation, replay)
    return desk.jobs.submit("tune", {"name": name, "run": str(folder), "publish": publish}, job_id=job_id)


def recipe_for(method: str, rows: int, facts: bases.BaseFacts, wanted: dict[str, Any]) -> Recipe:
    """The defaults for this case with what was asked for; alpha follows a rank that was given without it."""
    recipe = defaults(method, rows, facts, wanted.get("objective"))
    if "rank" in wanted and "alpha" not in wanted:
        wanted = wanted | {"alpha": 2 * wanted["rank"]}
    return dataclasses.replace(recipe, **wanted)
