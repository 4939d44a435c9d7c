"""How each arm answers a task's test rows: one function an arm, each from a cell to answers and what they cost.

Knows neither which cells there are nor where lines go.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.conversation import Example, wire
from adapters.data.tokens import prompt_ids
from adapters.prompting.selectors.choosing import choose
from adapters.prompts import PromptTemplate, Selection, Shot, render
from tests.bench.outcome.answering import Base, answers, through_product
from tests.bench.outcome.cells import Cell
from tests.bench.outcome.learning import changed, forgotten, tune
from tests.bench.outcome.linear import predicted
from tests.bench.outcome.scores import RATES
from tests.bench.outcome.tasks import Task

SHOTS = 8
PROMPT_TOKENS = 2048
"""Of a many-shot prompt, with the longest question."""
PASSAGES = 3
LONGEST_ANSWER_TOKENS = 128
TOKENS_ROUND_A_PROMPT = 64
"""That a chat template may write of its own, above all a system text."""


@dataclass
class Played:
    answers: list[str]
    prompt_tokens: float = 0.0
    train_s: float = 0.0
    answer_s: float = 0.0
    parameters: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)
    forgetting: float | None = None


Play = Callable[[Cell, Task, Base], Played]


def play(cell: Cell, task: Task, base: Base) -> dict[str, Any]:
    """The cell's line, but for what is the same in all lines of a run."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    played = PLAYS[cell.arm](cell, task, base)
    pairs = list(zip(played.answers, [one.answer for one in task.test], strict=True))
    items = {name: [rate(*pair) for pair in pairs] for name, rate in RATES.items()}
    line = {
        "task": cell.task, "base": base.name, "arm": cell.arm, "n": cell.n, "seed": cell.seed, "metric": task.metric,
        "score": round(statistics.fmean(items[task.metric]), 4), "n_test": len(pairs),
        "all": {name: round(statistics.fmean(values), 4) for name, values in items.items()},
        "seconds": {"train": round(played.train_s, 2), "answer": round(played.answer_s, 2)},
        "prompt_tokens": round(played.prompt_tokens, 1),
        "answer_tokens": round(statistics.fmean(_sizes(base, played.answers)), 1),
        "trained_parameters": played.parameters, "recipe": played.recipe,
        "items": [round(value, 3) for value in items[task.metric]],
    }  # fmt: skip
    if torch.cuda.is_available():
        line["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    if played.forgetting is not None:
        line["forgetting_nats"] = round(played.forgetting, 4)
    return line


def _sizes(base: Base, texts: Sequence[str]) -> list[int]:
    return [len(ids) for ids in base.tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


def _answer_tokens(task: Task, base: Base) -> int:
    """Those of the longest answer among the rows of the first seed, and one to stop with; the same for every arm."""
    rows = task.train(task.rows(task.most_rows, 0))
    return min(LONGEST_ANSWER_TOKENS, max(_sizes(base, [row.answer for row in rows])) + 1)


def _asked(
    task: Task, base: Base, rows: Sequence[Example], shots: Sequence[Sequence[Shot]] = (), *, model: Any = None,
    choices: Sequence[str] = (),
) -> Played:  # fmt: skip
    """The rows put to the base, or to a model made of it, each with its shots."""
    template = PromptTemplate()
    shown: Sequence[Sequence[Shot]] = shots or [()] * len(rows)
    said = [render(template, wire(row.prompt), chosen) for row, chosen in zip(rows, shown, strict=True)]
    most, began = _answer_tokens(task, base), time.monotonic()
    if choices:
        found = through_product(base.model, base.tokenizer, said, most, choices)
    else:
        found = answers(base, base.model if model is None else model, said, most)
    took = time.monotonic() - began
    tokens = statistics.fmean(len(prompt_ids(base.tokenizer, one)) for one in said)
    return Played(found, tokens, answer_s=took)


def _zero_shot(cell: Cell, task: Task, base: Base) -> Played:
    return _asked(task, base, task.test)


def _zero_shot_choices(cell: Cell, task: Task, base: Base) -> Played:
    return _asked(task, base, task.test, choices=task.labels)


def _few_shot(cell: Cell, task: Task, base: Base) -> Played:
    chosen = choose(task.pool(task.rows(cell.n, cell.seed), base.tokenizer), Selection("balanced", SHOTS, "", cell.seed), "")
    return _asked(task, base, task.test, [chosen] * len(task.test))


def _knn(cell: Cell, task: Task, base: Base) -> Played:
    pool = task.pool(task.rows(cell.n, cell.seed), base.tokenizer)
    selection = Selection("knn", SHOTS, "", cell.seed)
    shots = [choose(pool, selection, row.question, v) for row, v in zip(task.test, task.test_vectors, strict=True)]
    return _asked(task, base, task.test, shots)


def _many_shot(cell: Cell, task: Task, base: Base) -> Played:
    longest = max(_sizes(base, [row.question for row in task.test]))
    room = max(1, PROMPT_TOKENS - longest - TOKENS_ROUND_A_PROMPT)
    pool = task.pool(task.rows(cell.n, cell.seed), base.tokenizer)
    chosen = choose(pool, Selection("balanced", cell.n, "", cell.seed, room), "")
    played = _asked(task, base, task.test, [chosen] * len(task.test))
    played.recipe = {"shots": len(chosen)}
    return played


def _head(cell: Cell, task: Task, base: Base) -> Played:
    import torch

    rows, began = task.rows(cell.n, cell.seed), time.monotonic()
    both = (task.train_vectors(rows), task.test_vectors)
    vectors, asked = (torch.from_numpy(one).to(base.model.device) for one in both)
    found, penalty, parameters = predicted(vectors, [row.answer for row in task.train(rows)], asked, cell.seed)
    return Played(found, train_s=time.monotonic() - began, parameters=parameters, recipe={"penalty": penalty})


def _rag(cell: Cell, task: Task, base: Base) -> Played:
    return _asked(task, base, _with_passages(task, "found", PASSAGES))


def _oracle(cell: Cell, task: Task, base: Base) -> Played:
    return _asked(task, base, _with_passages(task, "gold", 1))


def _with_passages(task: Task, kind: str, most: int) -> list[Example]:
    return [task.shown(row, found) for row, found in zip(task.test, task.test_passages(kind, most), strict=True)]


def _tuned(cell: Cell, task: Task, base: Base) -> Played:
    rows = task.train(task.rows(cell.n, cell.seed))
    return _after(cell.arm, rows, task.test, cell, task, base)


def _rag_lora(cell: Cell, task: Task, base: Base) -> Played:
    """What it learns from holds a passage that answers among distractors, in an order that says nothing (RAFT)."""
    import random

    dice, numbers = random.Random(cell.seed), task.rows(cell.n, cell.seed)
    passages = [dice.sample(found, len(found)) for found in task.learned_passages(numbers, PASSAGES)]
    rows = [task.shown(row, found) for row, found in zip(task.train(numbers), passages, strict=True)]
    return _after("lora", rows, _with_passages(task, "found", PASSAGES), cell, task, base, long=True)


def _after(
    method: str, rows: Sequence[Example], asked: Sequence[Example], cell: Cell, task: Task, base: Base, *, long: bool = False
) -> Played:
    """The rows that are asked, put to a model tuned on the others."""
    began = time.monotonic()
    tuned = tune(method, rows, base, cell.seed, long=long)
    took, began = time.monotonic() - began, time.monotonic()
    if method == "prompt_tuning":
        said = [render(tuned.ground.template, wire(row.prompt)) for row in asked]
        found = through_product(tuned.model, tuned.ground.tokenizer, said, _answer_tokens(task, base))
        tokens = statistics.fmean(len(prompt_ids(tuned.ground.tokenizer, one)) for one in said)
        played = Played(found, tokens, answer_s=time.monotonic() - began)
    else:
        played = _asked(task, base, asked, model=tuned.model)
        played.forgetting = forgotten(base, tuned.model)
    played.train_s, played.parameters = took, tuned.parameters
    played.recipe = changed(tuned.recipe) | {"epochs_kept": round(tuned.epochs_kept, 2), "left_out": tuned.left_out}
    return played


PLAYS: dict[str, Play] = {
    "zero_shot": _zero_shot,
    "zero_shot_choices": _zero_shot_choices,
    "few_shot": _few_shot,
    "knn": _knn,
    "many_shot": _many_shot,
    "head": _head,
    "lora": _tuned,
    "full": _tuned,
    "prompt_tuning": _tuned,
    "rag": _rag,
    "oracle": _oracle,
    "rag+lora": _rag_lora,
}
