"""What the rows themselves say: how many, how alike, which kind of task, which labels, how long, in which language.

Every number comes as Evidence. The kind of task is a guess by the shape of the answers, and says so. `rows/` looks at the
texts; a base's tokenizer counts them where it is at hand. Knows no model.
"""

from __future__ import annotations

import json
import random
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence

from adapters.conversation import Example
from advisor.evidence import Evidence, share
from advisor.rows.alike import nearly_among, nearly_repeated
from advisor.rows.counting import Counting, counted
from advisor.rows.language import language
from advisor.rows.texts import naturalness, variety, volatile
from advisor.shift.sample import everyday, without_frame

MOST_LABELS, KNOWN_LABELS = 0.7, 0.6
"""Different answers for each row, at most, and the share of rows whose answer another row has too, at least: what is left is
about how likely the next row's answer is a new one (Good, 1953). Few rows of many labels hold some that occur once."""
LABEL_WORDS = 12
FORMAL = re.compile(r"[\d.,:/%+-]+")
"""Answers of this alone (figures, dates, versions) are facts, not labels."""


MOST_READ = 1000
"""Rows whose language and signs are looked at, drawn by seed."""


def profile(
    examples: Sequence[Example], *, counting: Counting | None = None, test: Sequence[Example] | None = None, seed: int = 0,
    kind: tuple[str, str] | None = None,
) -> list[Evidence]:  # fmt: skip
    """Evidence about at least one row; `counting` is the base's, `test` the rows that were set aside to judge by. `kind`: of
    task, and how that is known; guessed where it is not given."""
    n = len(examples)
    answers = defaultdict(list)
    for example in examples:
        answers[example.prompt_key].append(_plain(example.answer))
    repeated = n - len({(example.prompt_key, _plain(example.answer)) for example in examples})
    contradicting = sum(len(set(given)) > 1 for given in answers.values())
    asked = without_frame([_asked(example) for example in examples])
    near = sum(nearly_repeated(asked))
    found = [
        Evidence("n_examples", n, "rows", "counted in the file", n),
        Evidence("distinct_prompts", len(answers), "prompts", "counted, letter case and spacing aside", n),
        share("duplicate_share", repeated, n, "rows that repeat the question and the answer of another"),
        share("near_duplicate_share", near, n, "rows that ask in the same or nearly the same words as one before (at least "
              "0.8 of their words and word pairs), without what all rows share"),
        share("contradicting_share", contradicting, len(answers), "prompts that have more than one answer"),
        *counted(examples, counting),
    ]  # fmt: skip
    if test:
        found.append(_leakage(examples, test))
    is_of, how = kind or task_type(examples)
    found.append(Evidence("task_type", is_of, "", how, n))
    found += _labels(examples) if is_of == "classification" else []
    return found + _texts(asked, examples, seed)


def _texts(asked: Sequence[str], examples: Sequence[Example], seed: int) -> list[Evidence]:
    drawn = random.Random(seed).sample(range(len(examples)), min(MOST_READ, len(examples)))  # noqa: S311  # a sample, no secret
    both = [f"{asked[number]} {examples[number].answer}" for number in drawn]
    answers = [_plain(example.answer) for example in examples]
    return [
        *variety(answers), *language(both), *naturalness(both, everyday()),
        volatile([example.answer for example in examples]),
    ]  # fmt: skip


def _leakage(examples: Sequence[Example], test: Sequence[Example]) -> Evidence:
    asked = without_frame([_asked(example) for example in (*examples, *test)])
    leaked = sum(nearly_among(asked[len(examples) :], asked[: len(examples)]))
    how = "rows of the test file that ask in the same or nearly the same words as a row to learn from"
    return share("leakage_share", leaked, len(test), how)


def _asked(example: Example) -> str:
    return example.answer if example.is_document else "\n".join(message.content for message in example.prompt)


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
    few = len(counts) >= 2 and len(counts) <= max(2, MOST_LABELS * n)
    if few and short >= 0.95 * n and figures < 0.5 * n and repeated >= KNOWN_LABELS * n:
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
