"""`graft prompts fit DATA --name X`: which examples, how many, under which words? Chosen on validation rows, as a job.

What `graft tune --method few_shot` does, with the knobs that a prompt has. The job runs in a process of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from adapters.errors import InvalidInput
from gateway.cli.desk import Desk
from gateway.cli.progress import see_out
from gateway.cli.tune import Rows, submit

BETWEEN = "\n---\n"
"""Wordings in a recipe."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Prompt:
    """What is said of the prompt; what is left out is chosen.

    Parameters
    ----------
    system
        System text to begin with.
    wording
        A text file with another system text to try; may be given several times.
    many
        As many examples as the prompt holds.
    selector
        Which examples.
    shots
        How many.
    rows
        Validation rows to score each candidate on, at most.
    max_length
        Tokens of a prompt with its answer, at most.
    seed
        Decides the splits and every draw.
    """

    system: str | None = None
    wording: Annotated[list[Path] | None, Parameter(negative="")] = None
    many: Annotated[bool, Parameter(negative="")] = False
    selector: Literal["fixed", "random", "balanced", "knn", "mmr", "bm25"] | None = None
    shots: int | None = None
    rows: int | None = None
    max_length: int | None = None
    seed: int | None = None

    def knobs(self) -> dict[str, Any]:
        """As a recipe names them. Raises InvalidInput where nothing is left to choose, or a wording cannot be read."""
        if self.shots is not None and self.selector is None and not self.many:
            raise InvalidInput("--shots alone leaves nothing to choose; add --selector, or leave it out", param="shots")
        said = {
            "selector": self.selector, "shots": self.shots, "fitting_rows": self.rows, "max_length": self.max_length,
            "seed": self.seed, "wordings": BETWEEN.join(map(_text, self.wording)) if self.wording else None,
        }  # fmt: skip
        return {knob: value for knob, value in said.items() if value is not None}


NOTHING_SAID = Prompt()


def fit(
    file: Path,
    *,
    name: str,
    base: str | None = None,
    prompt: Prompt = NOTHING_SAID,
    prompt_column: str | None = None,
    completion_column: str | None = None,
    validation: Path | None = None,
    publish: Literal["better", "always", "never"] = "better",
    detach: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Choose a prompt's examples and words on validation rows, score it on held-out rows, publish it if it is better.

    Parameters
    ----------
    file
        JSONL, CSV, TSV or Parquet of questions and answers.
    name
        What callers will put into `model`.
    base
        A base of the settings, by its name. Default: the first.
    prompt_column
        Column of the question.
    completion_column
        Column of the answer.
    validation
        Rows to choose on, in place of a share of the file.
    publish
        When the name shall point at it: when it is better, always, or never (it stays a draft).
    detach
        Print the job's id and leave.
    json
        Print the outcome as JSON.
    """
    knobs, desk = prompt.knobs(), Desk()
    job = submit(
        desk, file, name, base=base, method="many_shot" if prompt.many else "few_shot", knobs=knobs, publish=publish,
        rows=Rows(prompt.system, prompt_column, completion_column, validation),
    )  # fmt: skip
    see_out(desk, job, detach=detach, json=json)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read as text ({error})", param="wording") from error
