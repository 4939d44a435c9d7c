"""What can be stated of a task without showing data, as flags: every field of the advisor's table, by its names there.

Ranges and words are checked by the advisor, which names the field. Knows no advice.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Facts:
    """What you know and the data cannot tell; each may be left out, and what is not known is said.

    Parameters
    ----------
    n_examples
        Rows there are.
    n_classes
        Different labels, of a classification.
    examples_per_class
        Rows of a typical label.
    task_type
        classification, extraction, question_answering, generation, translation, summarization, style, chat, code, …
    domain_shift
        How far the texts are from general text: 0 everyday, 1 nothing like it.
    needs_new_knowledge
        Do answers need facts the base cannot know? true, false, or a share.
    knowledge_changes
        Do those facts change while the model is in use?
    tuned_without_passages
        Is it for a model that was tuned already, without passages in its rows?
    corpus_tokens
        Tokens of the documents or raw text there is.
    base_score
        How well the base does when only prompted, 0 to 1.
    params_b
        Parameters of the base, in billions.
    gpu
        The machine: a size of memory such as 24GiB, or a name such as h100, a10g or rtx-4090, which brings speed, power and a
        usual price.
    gpu_gib
        Memory to plan for, in GiB; goes before that of a name.
    train_tflops
        Sustained speed of the machine, in TFLOP/s.
    tokens_per_example
        Tokens of a typical row, question and answer.
    max_prompt_tokens
        Tokens of the longest prompt allowed.
    latency_budget_ms
        Milliseconds there are before an answer has to start.
    queries_per_day
        Requests a day.
    tenants
        Adapted models to be served beside each other.
    price_per_hour
        What an hour of the machine costs, in US dollars.
    watts
        What the machine draws under load.
    labels_per_hour
        Rows that one person labels in an hour; 200 unless said.
    """

    n_examples: Annotated[int | None, Parameter(name=("--n", "--n-examples"))] = None
    n_classes: Annotated[int | None, Parameter(name=("--classes", "--n-classes"))] = None
    examples_per_class: float | None = None
    task_type: Annotated[str | None, Parameter(name=("--task", "--task-type"))] = None
    domain_shift: Annotated[float | None, Parameter(name=("--shift", "--domain-shift"))] = None
    needs_new_knowledge: str | None = None
    knowledge_changes: bool | None = None
    tuned_without_passages: bool | None = None
    corpus_tokens: int | None = None
    base_score: float | None = None
    params_b: float | None = None
    gpu: str | None = None
    gpu_gib: float | None = None
    train_tflops: float | None = None
    tokens_per_example: float | None = None
    max_prompt_tokens: int | None = None
    latency_budget_ms: float | None = None
    queries_per_day: float | None = None
    tenants: int | None = None
    price_per_hour: float | None = None
    watts: float | None = None
    labels_per_hour: float | None = None


NOTHING_STATED = Facts()


def flags(facts: Facts) -> list[str]:
    """As the advisor's own program takes them."""
    said = {name: value for name, value in dataclasses.asdict(facts).items() if value is not None}
    return [
        f"--{name.replace('_', '-')}={str(value).lower() if isinstance(value, bool) else value}" for name, value in said.items()
    ]
