"""`graft tune`: puts a tuning job into the durable queue, watches it, says what came of it.

The job runs in a process of its own, so closing this terminal ends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from adapters import bases
from adapters.data.dataset import open_dataset
from adapters.prompts import PromptTemplate
from adapters.tuning.recipe import choices
from gateway import tuning
from gateway.cli.base import chosen, located
from gateway.cli.desk import Desk
from gateway.cli.knobs import NOTHING_TURNED, Knobs, turned
from gateway.cli.progress import see_out
from gateway.cli.terminal import print_json
from gateway.jobs.job import Job
from gateway.stores.filling import searched


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Rows:
    """What is learned from, beside the file itself.

    Parameters
    ----------
    system
        System text that the adapted model carries; it is trained with it and served with it.
    prompt_column
        Column of the question.
    completion_column
        Column of the answer.
    validation
        Rows to watch while it learns, in place of a share of the file.
    replay
        Rows to learn beside the file's, against forgetting; without it the base's own answers are taken.
    docs
        For rag and rag+lora: a folder of documents, or one. They become a vector store of the model's name.
    store
        For rag and rag+lora: a vector store that there is, by name or id, in place of docs.
    """

    system: str | None = None
    prompt_column: str | None = None
    completion_column: str | None = None
    validation: Path | None = None
    replay: Path | None = None
    docs: Path | None = None
    store: str | None = None

    @property
    def template(self) -> PromptTemplate | None:
        return PromptTemplate(system=self.system) if self.system else None


ONLY_THE_FILE = Rows()


def tune(
    file: Path,
    *,
    name: str,
    base: str | None = None,
    method: str = "lora",
    knobs: Knobs = NOTHING_TURNED,
    recipe: Path | None = None,
    rows: Rows = ONLY_THE_FILE,
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
        lora, qlora, full, head, prompt_tuning, continued_pretraining; or few_shot, many_shot: examples in the prompt, chosen
        on validation rows, nothing trained; or rag, rag+lora: with documents, searched with every question.
    recipe
        TOML file of knobs, by the names of their flags with underscores; a flag goes before it.
    publish
        When the name shall point at it: when it is better, always, or never (it stays a draft).
    preview
        Show the first rows as the model will see them, and the recipe with its reasons; train nothing.
    detach
        Print the job's id and leave.
    json
        Print the outcome as JSON.
    """
    desk, wanted = Desk(), turned(knobs, recipe)
    if preview:
        _preview(desk, file, base, method, wanted, rows, json=json)
        return
    job = submit(desk, file, name, base=base, method=method, knobs=wanted, rows=rows, publish=publish)
    see_out(desk, job, detach=detach, json=json)


def _preview(desk: Desk, file: Path, base: str | None, method: str, wanted: dict[str, Any], rows: Rows, *, json: bool) -> None:
    from gateway.cli import preview

    data = open_dataset(file, prompt_column=rows.prompt_column, completion_column=rows.completion_column)
    folder = located(chosen(desk.settings, base), desk.settings).folder
    facts = bases.facts(folder)
    recipe = tuning.recipe_for(method, len(data.examples), facts, wanted)
    found = preview.look(data, folder, rows.template, recipe)
    if json:
        print_json(preview.to_json(found, folder))
    else:
        reasons = choices(method, len(data.examples), facts, recipe.objective, recipe.variant, recipe.weights)
        preview.show(found, folder, recipe, reasons)


def submit(
    desk: Desk,
    file: Path,
    name: str,
    *,
    base: str | None = None,
    method: str = "lora",
    knobs: dict[str, Any] | None = None,
    rows: Rows = ONLY_THE_FILE,
    publish: str = "better",
) -> Job:
    """Checks everything that can be checked now, writes the run's folder, and accepts the job."""
    setting = chosen(desk.settings, base)
    with searched(desk.settings, name, docs=rows.docs, store=rows.store) as documents:
        order = tuning.Order(
            data=file, name=name, base=setting.name, base_folder=located(setting, desk.settings).folder, method=method,
            knobs=knobs or {}, template=rows.template, prompt_column=rows.prompt_column,
            completion_column=rows.completion_column, validation=rows.validation, replay=rows.replay, publish=publish,
            documents=documents,
        )  # fmt: skip
        return tuning.submit(desk.settings, desk.jobs, order)
