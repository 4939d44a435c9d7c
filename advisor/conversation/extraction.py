"""What a language model is asked to read where the plain reader saw nothing, and what its answer is worth.

The schema is made of `stated.FIELDS` and of the conversation: a field stands in it only while words are left that could say it,
its quote is one of the user's clauses and its number one of their readings, so a model under the schema has nothing to invent.
What comes back is held to `grounding.py` all the same. Knows no engine.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from advisor.conversation import words
from advisor.conversation.claims import Claim, Turn
from advisor.conversation.grounding import grounded, located, numeral_of
from advisor.conversation.reader import open_numerals
from advisor.conversation.readings import reading
from advisor.evidence import Value
from advisor.stated import FIELDS

MOST_CLAUSES = 12
"""Shown to the model, the last ones said."""
LONGEST = 160
"""Characters of a clause."""
UNREAD = ("gpu",)
"""Known by name or not at all."""
TOKENS_A_FIELD = 64
"""Its name, a quote and a value."""

_CLAUSES = re.compile(r"(?:[^.!?;\n,]|[.,](?=\S))+[.!?]?")

HEAD = """A person describes a task to an advisor. Fill in what their words say. What they do not say is null.

"""


@dataclass(frozen=True, slots=True)
class Opening:
    """A field that is not read yet, and what it could be read from."""

    name: str
    quotes: tuple[str, ...]
    values: tuple[Value, ...]


def openings(turns: Sequence[Turn], read: Sequence[Claim]) -> list[Opening]:
    """In the order of the fields; empty where nothing is left that a field could be read from."""
    known = {claim.name for claim in read}
    quotes: dict[str, dict[str, None]] = defaultdict(dict)
    values: dict[str, dict[Value, None]] = defaultdict(dict)
    for place, start, clause in _clauses(turns):
        end = start + len(clause)
        free = [n for n in open_numerals(turns[place].text, read, place) if start <= n.start and n.end <= end]
        for name, field in FIELDS.items():
            cue = words.CUES.get(name)
            if name in known or name in UNREAD or cue is None or not words.pattern(cue).search(clause):
                continue
            found: list[Value] = []
            if field.kind is str and not clause.endswith("?"):
                found = list(field.choices)
            elif field.kind is bool or name == "needs_new_knowledge":
                found = [True, False]
            if field.kind in (int, float):
                found += [value for n in free if (value := reading(name, n, turns[place].text)) is not None]
            if found:
                quotes[name][clause] = None
                values[name] |= dict.fromkeys(found)
    return [Opening(name, tuple(quotes[name]), tuple(values[name])) for name in FIELDS if name in quotes]


def schema(asked: Sequence[Opening]) -> dict[str, Any]:
    """A JSON schema: every field is null, or a quote and a value."""
    return {
        "type": "object",
        "properties": {
            one.name: {
                "anyOf": [
                    {"type": "null"},
                    {
                        "type": "object",
                        "properties": {"quote": {"enum": list(one.quotes)}, "value": {"enum": list(one.values)}},
                        "required": ["quote", "value"],
                        "additionalProperties": False,
                    },
                ]
            }
            for one in asked
        },
        "required": [one.name for one in asked],
        "additionalProperties": False,
    }


def prompt(asked: Sequence[Opening]) -> str:
    """For a plain completion, since a base need not have a chat template."""
    fields = "".join(
        f"- {one.name}{f' ({FIELDS[one.name].unit})' if FIELDS[one.name].unit else ''}: {FIELDS[one.name].meaning}\n"
        for one in asked
    )
    said = "".join(f"- {clause}\n" for clause in dict.fromkeys(quote for one in asked for quote in one.quotes))
    return f"{HEAD}Fields:\n{fields}\nTheir words:\n{said}\nAs JSON, each field null or a quote of their words and its value:\n"


def claimed(reply: str, turns: Sequence[Turn], read: Sequence[Claim], reader: str) -> list[Claim]:
    """The claims of a model's reply that hold; everything else is dropped, a reply that is no JSON whole.

    A number that stands for a field already, or that the model takes for several, is dropped too.
    """
    try:
        said = json.loads(reply)
    except ValueError:
        return []
    known = {claim.name for claim in read}
    taken = {(claim.turn, claim.numeral) for claim in read if claim.numeral is not None}
    found = []
    for name, entry in said.items() if isinstance(said, dict) else ():
        if name in FIELDS and name not in known and name not in UNREAD and isinstance(entry, dict):
            claim = _claim(name, entry.get("quote"), entry.get("value"), turns, reader)
            if claim is not None and grounded(claim, turns) and (claim.turn, claim.numeral) not in taken:
                found.append(claim)
    uses = Counter((claim.turn, claim.numeral) for claim in found if claim.numeral is not None)
    return [claim for claim in found if claim.numeral is None or uses[claim.turn, claim.numeral] == 1]


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
            for match in _CLAUSES.finditer(turn.text):
                clause = match[0].strip()
                if 0 < len(clause) <= LONGEST:
                    found.append((place, match.start() + match[0].index(clause), clause))
    return found[-MOST_CLAUSES:]
