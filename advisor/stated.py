"""What a caller can state about a task without showing data: one table of numbers, their ranges and their meaning.

The command line, the HTTP body and the rules all use these names. Standard library only; knows no rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from adapters.errors import InvalidInput
from advisor import hardware
from advisor.evidence import STATED, Evidence

TASK_TYPES = (
    "classification", "extraction", "question_answering", "qa_closed_book", "qa_open_book", "generation", "translation",
    "summarization", "style", "chat", "code", "tool_use", "reasoning", "domain_lm",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    kind: type
    unit: str
    meaning: str
    low: float = 0.0
    high: float = math.inf
    choices: tuple[str, ...] = ()
    """Of words, all that are allowed."""
    short: str = ""
    """What it is called on a command line, beside its name."""


FIELDS = {
    "n_examples": Field(int, "rows", "Examples there are.", short="n"),
    "n_classes": Field(int, "labels", "Different labels, of a classification.", low=2, short="classes"),
    "examples_per_class": Field(float, "rows", "Examples of a typical label."),
    "task_type": Field(str, "", f"One of {', '.join(TASK_TYPES)}.", choices=TASK_TYPES, short="task"),
    "domain_shift": Field(
        float, "share", "How far the texts are from general text: 0 everyday, 1 nothing like it.", high=1, short="shift"
    ),
    "needs_new_knowledge": Field(
        float, "share", "Do answers need facts the base cannot know? true, false, or a share.", high=1
    ),
    "knowledge_changes": Field(bool, "", "Do those facts change while the model is in use?"),
    "tuned_without_passages": Field(
        bool, "", "Is the model it is for one that was tuned already, without passages in its rows?"
    ),
    "corpus_tokens": Field(int, "tokens", "Size of the documents or raw text there is."),
    "base_score": Field(float, "share", "How well the base does when only prompted, 0 to 1.", high=1),
    "params_b": Field(float, "billions", "Parameters of the base.", low=1e-6, high=100_000),
    "gpu": Field(str, "", f"The machine: a size as 24GiB, or one of {', '.join(hardware.HARDWARE)}."),
    "gpu_gib": Field(float, "GiB", "Memory to plan for.", low=0.01),
    "train_tflops": Field(float, "TFLOP/s", "Sustained speed of the machine that would train.", low=1e-6),
    "tokens_per_example": Field(float, "tokens", "Length of a typical row, question and answer.", low=1),
    "max_prompt_tokens": Field(int, "tokens", "Longest prompt allowed.", low=1),
    "latency_budget_ms": Field(float, "ms", "Time there is before an answer has to start.", low=0.001),
    "queries_per_day": Field(float, "requests", "Requests a day."),
    "tenants": Field(int, "names", "Adapted models to be served beside each other.", low=1),
    "price_per_hour": Field(float, "USD", "What an hour of the machine costs."),
    "watts": Field(float, "W", "What the machine draws under load.", low=1),
    "labels_per_hour": Field(float, "rows", "Rows that one person labels in an hour; 200 unless said.", low=0.01),
}


@dataclass(frozen=True, slots=True)
class Stated:
    """Every number is optional; None means not known. Raises InvalidInput that names the field and its range."""

    n_examples: int | None = None
    n_classes: int | None = None
    examples_per_class: float | None = None
    task_type: str | None = None
    domain_shift: float | None = None
    needs_new_knowledge: float | None = None
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

    def __post_init__(self) -> None:
        for name, value in self.given().items():
            _check(name, value)
        if self.n_classes is not None and self.task_type not in (None, "classification"):
            raise InvalidInput(f"n_classes is stated, but task_type is {self.task_type}, not classification", param="n_classes")

    def given(self) -> dict[str, Any]:
        return {name: value for name in FIELDS if (value := getattr(self, name)) is not None}

    def evidence(self) -> list[Evidence]:
        """What a machine is known to be by its name comes first, so that what is stated of it by number replaces it."""
        machine = [] if self.gpu is None else hardware.evidence(self.gpu)
        return machine + [
            Evidence(name, float(value) if FIELDS[name].kind is float else value, FIELDS[name].unit, STATED)
            for name, value in self.given().items()
        ]


def parse(texts: dict[str, str]) -> Stated:
    """From words, as a command line has them. Raises InvalidInput for a word that is no such value."""
    return Stated(**{name: _parsed(name, word) for name, word in texts.items()})


def _check(name: str, value: Any) -> None:
    field = FIELDS[name]
    if field.kind is str:
        if field.choices and value not in field.choices:
            raise InvalidInput(f"{name} must be one of {', '.join(field.choices)}, not {value!r}", param=name)
        if name == "gpu":
            hardware.named(str(value))
        return
    if field.kind is bool:
        if not isinstance(value, bool):
            raise InvalidInput(f"{name} must be true or false, not {value!r}", param=name)
        return
    wanted = f"between {field.low:g} and {field.high:g}" if field.high < math.inf else f"at least {field.low:g}"
    truth = isinstance(value, bool) and name != "needs_new_knowledge"
    if truth or not isinstance(value, int if field.kind is int else (int, float)):
        raise InvalidInput(f"{name} must be {'a whole number' if field.kind is int else 'a number'}, {wanted}", param=name)
    if not math.isfinite(value) or not field.low <= value <= field.high:
        raise InvalidInput(f"{name} must be {wanted} ({field.unit}), not {value}", param=name)


def _parsed(name: str, word: str) -> Any:
    kind = FIELDS[name].kind
    if word.lower() in ("true", "false") and (kind is bool or name == "needs_new_knowledge"):
        return word.lower() == "true"
    if kind is bool:
        raise InvalidInput(f"{name} must be true or false, not '{word}'", param=name)
    try:
        return kind(word)
    except ValueError:
        raise InvalidInput(
            f"{name} must be {'a whole number' if kind is int else 'a number'}, not '{word}'", param=name
        ) from None
