"""The advisor's answer in words: a template, filled from an Advice, from what was read and from what is asked.

Paragraphs of Markdown, so that they can be sent one by one. No model writes any of it. Knows no rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from advisor.advice import Advice
from advisor.conversation.questions import Question
from advisor.conversation.settling import Known
from advisor.stated import FIELDS

REASONS, CHANGES, SENTENCES = 3, 3, 2

GREETING = (
    "I say which way of adapting a model suits a task: prompting, examples in the prompt, documents, or tuning. "
    "I need something to go by, and I count only what you say yourself."
)


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer is made from."""

    known: Known
    advice: Advice | None
    """None where nothing is known."""
    questions: Sequence[Question]
    base: str | None = None
    """Of this gateway, which the user named."""


def paragraphs(said: Said) -> list[str]:
    advice = said.advice
    made = [GREETING] if advice is None else [*_advice(advice, said.base)]
    made += [*_read(said), *_questions(said.questions)]
    return made


def _advice(advice: Advice, base: str | None) -> list[str]:
    first = advice.ranking[0]
    on = f", on {base}" if base else ""
    made = [f"**{advice.method}**{on}, with a confidence of {advice.confidence:.0%}."]
    if advice.says:
        made.append(" ".join(advice.says[:SENTENCES]))
    made.append(_listed("Because:", first.reasons[:REASONS]))
    if advice.would_change_if:
        made.append(_listed("It would be another method:", advice.would_change_if[:CHANGES]))
    commands = advice.plan["commands"]
    if advice.plan["note"]:
        made.append(f"{advice.plan['note'][0].upper()}{advice.plan['note'][1:]}.")
    if commands:
        made.append("Next:\n```\n" + "\n".join(commands) + "\n```\n`graft advise FILE` measures what I was only told.")
    return made


def _read(said: Said) -> list[str]:
    known, lines = said.known, []
    for name, claim in known.facts.items():
        unit = "" if isinstance(claim.value, bool) or FIELDS[name].unit == "share" else FIELDS[name].unit
        by = f", as {claim.reader} read it" if claim.reader else ""
        lines.append(f'{name}: {_plain(claim.value)}{f" {unit}" if unit else ""}, from "{claim.quote}"{by}')
    lines += [f"left out, {reason}" for reason in known.refused]
    lines += [f"left out, {number}: I cannot tell what it counts" for number in known.unplaced]
    return [_listed("What I read in your words:", lines)] if lines else []


def _questions(questions: Sequence[Question]) -> list[str]:
    if not questions:
        return []
    asked = [f"{n}. {one.text}{f' ({one.why})' if one.why else ''}" for n, one in enumerate(questions, start=1)]
    return ["\n".join(("To be surer, tell me:" if questions[0].why else "Tell me:", *asked))]


def _listed(title: str, lines: Sequence[str]) -> str:
    return "\n".join((title, *(f"- {line}" for line in lines)))


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.6g}" if isinstance(value, float) else str(value)
