"""What is asked of somebody whose advice hangs on what they have not said: one or two facts, those that would turn it first.

Which would turn it was found by deciding again (`sensitivity.py`); what is only missing comes after. Knows no conversation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from advisor import ranking
from advisor.advice import Advice
from advisor.conversation.claims import Turn
from advisor.evidence import STATED, Evidence, Found, text
from advisor.predicting.typical import DECISIVE
from advisor.stated import FIELDS, TASK_TYPES

MOST = 2
OFTEN = 2
"""What was asked so often and not answered is not known, and is not asked again."""

QUESTIONS: dict[str, str] = {
    "n_examples": "How many examples (rows) do you have?",
    "task_type": (
        "What kind of task is it: classification, extraction, question answering, translation, summarization, code, chat, or"
        " another?"
    ),
    "needs_new_knowledge": "Do the answers need facts that the base cannot know, such as those of your own documents?",
    "knowledge_changes": "Do those facts change while the model is in use?",
    "params_b": "How large is the base, in billions of parameters?",
    "gpu_gib": "How much memory has the GPU, in GiB, or which one is it?",
    "n_classes": "How many different labels are there?",
    "base_score": "What share of the answers does the base get right when it is only prompted?",
    "latency_budget_ms": "How many milliseconds may pass before an answer starts?",
    "queries_per_day": "How many requests a day are there?",
}
"""In the order in which they are asked where nothing else decides. What only a measurement tells is not among them."""
FIRST = ("n_examples", "task_type")
"""Asked where nothing is known at all."""


@dataclass(frozen=True, slots=True)
class Question:
    name: str
    text: str
    why: str
    """What hangs on it; empty where nothing is known yet."""


def asked_in(said: str) -> list[str]:
    """The fields that a turn of the advisor's asks for, in its order."""
    places = sorted((said.find(question), name) for name, question in QUESTIONS.items() if question in said)
    return [name for _, name in places]


def to_ask(advice: Advice | None, known: Sequence[str], turns: Sequence[Turn]) -> list[Question]:
    """At most `MOST`, the weightiest first. `known`: fields that are stated."""
    tired = Counter(name for turn in turns if not turn.is_users for name in asked_in(turn.text))
    open_ones = [name for name in QUESTIONS if name not in known and tired[name] < OFTEN]
    if advice is None:
        return [Question(name, QUESTIONS[name], "") for name in FIRST if name in open_ones]
    weights: dict[str, str] = {}
    for name, why in _weights(advice):
        if name in open_ones:
            weights.setdefault(name, why)
    return list(_one_of_a_kind(weights))[:MOST]


def _one_of_a_kind(weights: dict[str, str]) -> Iterator[Question]:
    """One that is answered by a number, one by yes or no, one by a word: so a bare answer leaves no doubt which it answers."""
    kinds = set()
    for name, why in weights.items():
        kind = bool if name == "needs_new_knowledge" else str if FIELDS[name].kind is str else FIELDS[name].kind
        kind = float if kind is int else kind
        if kind not in kinds:
            kinds.add(kind)
            yield Question(name, QUESTIONS[name], why)


def _weights(advice: Advice) -> Iterator[tuple[str, str]]:
    """(field, what hangs on it), the weightiest first; a field may come again."""
    gaps = {one.name for one in advice.evidence if one.value is None}
    turns = {change.name: change.says for change in reversed(advice.changes) if change.present is None}
    found = {one.name: one for one in advice.evidence if one.value is not None}
    if "task_type" in gaps and (kind := _turning_task(advice, found)):
        turns["task_type"] = kind
    for name in QUESTIONS:
        if name in turns and name in DECISIVE:
            yield name, turns[name]
    for name in QUESTIONS:
        if name in gaps and name not in turns:
            yield name, "not known, which lowers the confidence"
    if text(found, "task_type") == "classification" and "n_classes" not in found:
        yield "n_classes", "rows for each label decide whether tuning pays"
    for name in QUESTIONS:
        if name in turns:
            yield name, turns[name]


def _turning_task(advice: Advice, found: Found) -> str | None:
    """The first kind of task that would turn the advice, found by deciding again."""
    for kind in TASK_TYPES:
        stated = Evidence("task_type", kind, "", STATED)
        method = ranking.decide({**found, "task_type": stated}, advice.profile).method
        if method != advice.method:
            return f"if it is {kind.replace('_', ' ')}: {method}"
    return None
