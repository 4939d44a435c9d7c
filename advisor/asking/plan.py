"""Which questions are put to the base, of how many rows, so that a budget of tokens holds: decided before any is asked.

All questions are asked of the same rows. Many rows where the budget allows all questions so many; else as many as it allows
those at the core, and of the others what still fits. What is not asked is told with the reason. The clock is looked at between
questions only, and stops what a much slower machine than assumed could not finish. Knows no question.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adapters.errors import InvalidInput
from advisor.evidence import Evidence

GENEROUS, SPARING = (48, 32), (24, 16, 12)
"""Numbers of rows, tried from the most: for all questions, and for those at the core."""


@dataclass(frozen=True, slots=True)
class Question:
    names: tuple[str, ...]
    """Of the evidence it gives."""
    units: tuple[str, ...]
    cost: Callable[[int], float]
    """In prompt tokens, of so many rows."""
    ask: Callable[[int], list[Evidence]]
    is_core: bool = False

    def unasked(self, reason: str) -> list[Evidence]:
        return [Evidence(name, None, unit, f"not asked: {reason}") for name, unit in zip(self.names, self.units, strict=True)]


@dataclass(frozen=True, slots=True)
class Plan:
    rows: int
    asked: list[Question]
    left_out: list[Question]


def plan(questions: Sequence[Question], tokens: float, most_rows: int) -> Plan:
    """`questions` with the most valuable first."""
    for rows in dict.fromkeys(min(number, most_rows) for number in GENEROUS):
        if sum(question.cost(rows) for question in questions) <= tokens:
            return Plan(rows, list(questions), [])
    core = [question for question in questions if question.is_core]
    numbers = list(dict.fromkeys(min(number, most_rows) for number in SPARING))
    fitting = (rows for rows in numbers if sum(question.cost(rows) for question in core) <= tokens)
    rows = next(fitting, numbers[-1])
    left, kept = tokens, list[Question]()
    for question in (*core, *(one for one in questions if not one.is_core)):
        cost = question.cost(rows)
        if cost <= left:
            kept.append(question)
            left -= cost
    return Plan(rows, [one for one in questions if one in kept], [one for one in questions if one not in kept])


def played(made: Plan, deadline: float, tokens: float, said: Callable[[str], None]) -> list[Evidence]:
    """What is found, and what was not asked with the reason. `deadline` is a reading of time.monotonic()."""
    found: list[Evidence] = []
    for place, question in enumerate(made.asked, start=1):
        if time.monotonic() > deadline:
            found += question.unasked("this machine is slower than was planned for, and the time was up")
            continue
        said(f"asking the base, question {place} of {len(made.asked)}: {', '.join(question.names)}")
        try:
            found += question.ask(made.rows)
        except InvalidInput as wrong:  # such as a template under which nothing can be learned
            found += question.unasked(wrong.message)
    for question in made.left_out:
        needed = f"{question.cost(made.rows):,.0f} tokens for {made.rows} rows do not fit into the {tokens:,.0f} that there are"
        found += question.unasked(f"{needed}; a longer budget asks it")
    return found
