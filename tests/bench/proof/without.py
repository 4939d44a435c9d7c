"""Evidence taken away or mixed up, to see what it was good for: one row a group. Counts of rows and labels always stay."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from advisor.evidence import Found
from tests.bench.proof.cases import Case, changed

GROUPS: Mapping[str, tuple[str, ...]] = {
    "shift": (
        "domain_shift", "subject_shift", "language_shift", "mmd2", "c2st", "bits_per_byte", "tokens_per_byte", "naturalness",
    ),
    "asked of the base": (
        "zero_shot", "few_shot", "knn_shot", "base_score", "format_gap", "answer_nats", "closed_book", "oracle_score",
        "retrieved_score", "random_passage", "gain_nats", "unknown_share",
    ),
    "learnability": ("knn_cv", "linear_probe", "knn_answer"),
    "documents": ("corpus_tokens", "answers_in_documents", "answers_by_chance"),
}  # fmt: skip
"""By how the names of their evidence begin."""
MEASURED = tuple(start for name in ("shift", "asked of the base", "learnability") for start in GROUPS[name])


def without(starts: Sequence[str]) -> Callable[[Found], Found]:
    return lambda found: {name: one for name, one in found.items() if not name.startswith(tuple(starts))}


def numbers_only(found: Found) -> Found:
    """What somebody could state without measuring: the rows, the labels and the kind of task."""
    kept = ("n_examples", "n_classes", "examples_per_class", "task_type", "answer_words", "usable_rows")
    return {name: one for name, one in found.items() if name in kept}


def shuffled(cases: Sequence[Case], seed: int) -> list[Case]:
    """Every task is given the measurements of another one, whole; which, the seed says."""
    tasks = sorted({case.task for case in cases})
    turn = random.Random(seed).randrange(1, len(tasks)) if len(tasks) > 1 else 0
    other = {task: tasks[(place + turn) % len(tasks)] for place, task in enumerate(tasks)}
    at = {(case.task, case.setting.n): case for case in cases}
    made = []
    for case in cases:
        donor = at.get((other[case.task], case.setting.n)) or next(one for one in cases if one.task == other[case.task])
        measured = {name: one for name, one in donor.setting.found.items() if name.startswith(MEASURED)}
        made.append(changed(case, lambda found, measured=measured: without(MEASURED)(found) | measured))  # type: ignore[misc]
    return made
