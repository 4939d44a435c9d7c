"""What a language model is asked to read where the plain reader saw nothing, and what its answer is worth.

The schema is made of `stated.FIELDS` and of the conversation: a field stands in it only while words are left that could say it,
and it can be null, or one of the user's clauses with a value that the clause grounds. So a model under the schema has nothing
to invent; what comes back is held to `grounding.py` all the same. Knows no engine.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advisor.conversation.claims import Claim, Turn
from advisor.conversation.grounding import grounded, located, numeral_of
from advisor.conversation.numerals import Numeral
from advisor.conversation.questions import QUESTIONS
from advisor.conversation.reader import open_numerals
from advisor.conversation.readings import reading
from advisor.evidence import Value
from advisor.stated import FIELDS

MOST_FIELDS = 4
"""Asked about at once, each in a question of its own; those that would be asked for first."""
MOST_CLAUSES = 12
"""Shown to the model, the last ones said."""
LONGEST = 160
"""Characters of a clause."""
UNREAD = ("gpu",)
"""Known by name or not at all."""
TOKENS = 96
"""Of a reply, at most: a name, a quote and a value."""

_BREAKS = re.compile(r"(?<=[.!?])\s+|[;\n]+|,\s+|\s+(?:and|but|while)\s+")

HEAD = """A person describes a task to an advisor. Fill in what their words say; what they do not say is null.

"""


@dataclass(frozen=True, slots=True)
class Opening:
    """A field that is not read yet, and what it could be read from: clauses, each with the values that it would ground."""

    name: str
    values: Mapping[str, tuple[Value, ...]]


def openings(turns: Sequence[Turn], read: Sequence[Claim]) -> list[Opening]:
    """At most `MOST_FIELDS`; empty where nothing is left that a field could be read from."""
    known = {claim.name for claim in read} | set(UNREAD)
    found: dict[str, dict[str, tuple[Value, ...]]] = defaultdict(dict)
    for place, start, clause in _clauses(turns):
        end = start + len(clause)
        free = [n for n in open_numerals(turns[place].text, read, place) if start <= n.start and n.end <= end]
        for name in FIELDS:
            if name not in known:
                made = (
                    Claim(name, value, clause, place, start, numeral)
                    for value, numeral in _values(name, clause, free, turns[place].text)
                )
                values = tuple(dict.fromkeys(claim.value for claim in made if grounded(claim, turns)))
                if values:
                    found[name][clause] = values
    first = [name for name in dict.fromkeys((*QUESTIONS, *FIELDS)) if name in found]
    return [Opening(name, found[name]) for name in first[:MOST_FIELDS]]


def _values(name: str, clause: str, free: Sequence[Numeral], text: str) -> Iterator[tuple[Value, int | None]]:
    """(value, where its number stands) that the field could have by this clause of `text`."""
    field = FIELDS[name]
    if field.kind is str and not clause.endswith("?"):
        yield from ((choice, None) for choice in field.choices)
    if field.kind is bool or name == "needs_new_knowledge":
        yield from ((value, None) for value in (True, False))
    if field.kind in (int, float):
        for numeral in free:
            value = reading(name, numeral, text)
            if value is not None:
                yield value, numeral.start


def schema(asked: Opening) -> dict[str, Any]:
    """A JSON schema: the field is null, or a quote and a value that the quote grounds."""
    said = [
        {
            "type": "object",
            "properties": {"quote": {"enum": [quote]}, "value": {"enum": list(values)}},
            "required": ["quote", "value"],
            "additionalProperties": False,
        }
        for quote, values in asked.values.items()
    ]
    return {
        "type": "object",
        "properties": {asked.name: {"anyOf": [{"type": "null"}, *said]}},
        "required": [asked.name],
        "additionalProperties": False,
    }


def prompt(asked: Opening) -> str:
    """For a plain completion, since a base need not have a chat template."""
    field = FIELDS[asked.name]
    unit = f" ({field.unit})" if field.unit else ""
    said = "".join(f"- {clause}\n" for clause in asked.values)
    return (
        f"{HEAD}Field:\n- {asked.name}{unit}: {field.meaning}\n\nTheir words:\n{said}\n"
        "As JSON, null or a quote of their words and its value:\n"
    )


def claimed(replies: Mapping[str, str], turns: Sequence[Turn], read: Sequence[Claim], reader: str) -> list[Claim]:
    """The claims of a model's replies, by field, that hold; everything else is dropped, as is a reply that is no JSON.

    A number that stands for a field already, or that the model takes for several, is dropped too.
    """
    known = {claim.name for claim in read}
    taken = {(claim.turn, claim.numeral) for claim in read if claim.numeral is not None}
    found = []
    for name, reply in replies.items():
        entry = _entry(reply, name)
        if name in FIELDS and name not in known and name not in UNREAD and entry is not None:
            claim = _claim(name, entry.get("quote"), entry.get("value"), turns, reader)
            if claim is not None and grounded(claim, turns) and (claim.turn, claim.numeral) not in taken:
                found.append(claim)
    uses = Counter((claim.turn, claim.numeral) for claim in found if claim.numeral is not None)
    return [claim for claim in found if claim.numeral is None or uses[claim.turn, claim.numeral] == 1]


def _entry(reply: str, name: str) -> dict[str, Any] | None:
    try:
        said = json.loads(reply)
    except ValueError:
        return None
    entry = said.get(name) if isinstance(said, dict) else None
    return entry if isinstance(entry, dict) else None


def _claim(name: str, quote: Any, value: Any, turns: Sequence[Turn], reader: str) -> Claim | None:
    place = located(quote, turns) if isinstance(quote, str) else None
    if place is None or not isinstance(value, (bool, int, float, str)):
        return None
    turn, start, there = place
    numeral = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        numeral = numeral_of(name, value, (start, start + len(there)), turns[turn].text)
        if numeral is None:
            return None
    return Claim(name, value, there, turn, start, None if numeral is None else numeral.start, reader=reader)


def _clauses(turns: Sequence[Turn]) -> list[tuple[int, int, str]]:
    found = []
    for place, turn in enumerate(turns):
        if turn.is_users:
            begins = 0
            for ends, goes_on in (*(match.span() for match in _BREAKS.finditer(turn.text)), (len(turn.text), 0)):
                clause = turn.text[begins:ends].strip()
                if 0 < len(clause) <= LONGEST:
                    found.append((place, turn.text.index(clause, begins), clause))
                begins = goes_on
    return found[-MOST_CLAUSES:]
