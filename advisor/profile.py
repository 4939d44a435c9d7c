"""What the rows themselves say: how many, how alike, which kind of task, which labels, how long. Knows no model.

Every number comes as Evidence. The kind of task is a guess by the shape of the answers, and says so.
"""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence

from adapters.conversation import Example
from advisor.evidence import Evidence, share

CHARACTERS_PER_TOKEN = 4.0
"""Of English text in a subword vocabulary of 30 to 150 thousand pieces; other scripts and code run lower."""

LABEL_WORDS = 12
FORMAL = re.compile(r"[\d.,:/%+-]+")
"""Answers of this alone (figures, dates, versions) are facts, not labels."""


def profile(examples: Sequence[Example]) -> list[Evidence]:
    """Evidence about at least one row."""
    n = len(examples)
    answers = defaultdict(list)
    for example in examples:
        answers[example.prompt_key].append(_plain(example.answer))
    repeated = n - len({(example.prompt_key, _plain(example.answer)) for example in examples})
    contradicting = sum(len(set(given)) > 1 for given in answers.values())
    lengths = [len(example.answer.split()) for example in examples]
    characters = [sum(len(message.content) for message in example.messages) for example in examples]
    tokens = sum(characters) / CHARACTERS_PER_TOKEN
    estimate = f"characters / {CHARACTERS_PER_TOKEN:g}, the usual length of a piece of English text"
    found = [
        Evidence("n_examples", n, "rows", "counted in the file", n),
        Evidence("distinct_prompts", len(answers), "prompts", "counted, letter case and spacing aside", n),
        share("duplicate_share", repeated, n, "rows that repeat the question and the answer of another"),
        share("contradicting_share", contradicting, len(answers), "prompts that have more than one answer"),
        Evidence("answer_words", statistics.median(lengths), "words", "median over the rows", n),
        Evidence("longest_answer_words", max(lengths), "words", "longest in the file", n),
        Evidence("dataset_tokens", round(tokens), "tokens", estimate, n),
        Evidence("tokens_per_example", round(tokens / n, 1), "tokens", f"mean over the rows; {estimate}", n),
    ]
    kind, how = task_type(examples)
    found.append(Evidence("task_type", kind, "", how, n))
    return found + (_labels(examples) if kind == "classification" else [])


def task_type(examples: Sequence[Example]) -> tuple[str, str]:
    """The kind of task and what it was guessed from."""
    n = len(examples)
    structured = sum(_is_structure(example.answer) for example in examples)
    if structured >= 0.9 * n:
        return "extraction", f"guessed: {structured} of {n} answers are JSON objects or lists"
    counts = Counter(_plain(example.answer) for example in examples)
    short = sum(count for answer, count in counts.items() if len(answer.split()) <= LABEL_WORDS)
    figures = sum(count for answer, count in counts.items() if FORMAL.fullmatch(answer))
    repeated = sum(count for count in counts.values() if count > 1)
    few = len(counts) >= 2 and len(counts) <= max(2, n / 2)
    # a few labels that occur once are still labels; a file where most answers occur once holds none
    if few and short >= 0.95 * n and figures < 0.5 * n and repeated >= 0.8 * n:
        return "classification", f"guessed: {n} rows share {len(counts)} short answers"
    asking = sum("?" in example.question for example in examples)
    if asking >= 0.5 * n:
        return "question_answering", f"guessed: {asking} of {n} prompts hold a question mark, and answers vary"
    return "generation", f"guessed: {len(counts)} different answers in {n} rows, neither JSON nor answers to questions"


def _labels(examples: Sequence[Example]) -> list[Evidence]:
    n = len(examples)
    counts = Counter(_plain(example.answer) for example in examples)
    rows = sorted(counts.values())
    return [
        Evidence("n_classes", len(counts), "labels", "different answers in the file", n),
        Evidence("examples_per_class", statistics.median(rows), "rows", "median over the labels", n),
        Evidence("fewest_per_class", rows[0], "rows", "rows of the rarest label", n),
        Evidence("imbalance", round(rows[-1] / rows[0], 2), "ratio", "rows of the commonest label / rows of the rarest", n),
        share("majority_share", rows[-1], n, "rows with the commonest label: what always answering it would score"),
    ]


def _plain(answer: str) -> str:
    return " ".join(answer.lower().split())


def _is_structure(answer: str) -> bool:
    if not answer.lstrip().startswith(("{", "[")):
        return False
    try:
        return isinstance(json.loads(answer), dict | list)
    except (json.JSONDecodeError, RecursionError):
        return False
