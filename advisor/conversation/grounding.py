"""The one rule that every fact is held to, whoever read it: the user's own words must say it.

- The quote stands in a turn of the user's, word for word, and holds a word of the field; or it answers the question before it.
- A number is the reading of a numeral in the quote, which is not said to be otherwise; a yes or no has the sign of its words.
Knows neither how a claim was found nor what becomes of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from advisor.conversation import words
from advisor.conversation.around import NOTHING
from advisor.conversation.claims import Claim, Turn
from advisor.conversation.numerals import Numeral, numerals
from advisor.conversation.questions import asked_in
from advisor.conversation.reader import denied
from advisor.conversation.readings import reading
from advisor.conversation.words import pattern
from advisor.stated import FIELDS

_NOTHING = "(?!)"
"""A pattern that is never found."""


def grounded(claim: Claim, turns: Sequence[Turn]) -> bool:
    if not (0 <= claim.turn < len(turns) and claim.name in FIELDS):
        return False
    turn = turns[claim.turn]
    end = claim.start + len(claim.quote)
    if not (turn.is_users and claim.quote.strip() and turn.text[claim.start : end] == claim.quote):
        return False
    if claim.name == "gpu":
        return str(claim.value) in words.MACHINES and words.MACHINES[str(claim.value)].search(claim.quote) is not None
    if not (_is_asked(claim, turns) if claim.asked else _is_about(claim)):
        return False
    if FIELDS[claim.name].kind is str:
        return claim.value in FIELDS[claim.name].choices
    if isinstance(claim.value, bool):
        return _has_sign(claim)
    return _has_number(claim, turn.text, end)


def located(quote: str, turns: Sequence[Turn]) -> tuple[int, int, str] | None:
    """(turn, start, the words as they stand there) of a quote in the user's last turn that holds it, whatever its spaces and
    capitals; None where none does."""
    parts = quote.split()
    if not parts:
        return None
    spoken = re.compile(r"(?<!\w)" + r"\s+".join(map(re.escape, parts)) + r"(?!\w)", re.IGNORECASE)
    for place in reversed(range(len(turns))):
        found = spoken.search(turns[place].text) if turns[place].is_users else None
        if found:
            return place, found.start(), found[0]
    return None


def numeral_of(name: str, value: float, quote: tuple[int, int], text: str) -> Numeral | None:
    """The numeral between the places `quote` of `text` of which `value` is a reading; None where there is none."""
    start, end = quote
    for numeral in numerals(text):
        inside = start <= numeral.start and numeral.end <= end
        if inside and not denied(text, numeral) and reading(name, numeral, text) == value:
            return numeral
    return None


def _is_about(claim: Claim) -> bool:
    cues = words.CUES.get(claim.name, _NOTHING)
    if claim.name == "task_type":
        cues = rf"{words.TASKS.get(str(claim.value), _NOTHING)}|{words.HINTS.get(str(claim.value), _NOTHING)}"
    return pattern(rf"{claim.name.replace('_', '[ _-]')}|{cues}").search(claim.quote) is not None


def _is_asked(claim: Claim, turns: Sequence[Turn]) -> bool:
    before = turns[claim.turn - 1] if claim.turn else None
    return before is not None and not before.is_users and claim.name in asked_in(before.text)


def _has_sign(claim: Claim) -> bool:
    if claim.asked:
        found = pattern(words.BARE).fullmatch(claim.quote)
        return found is not None and (found["yes"] is not None) is claim.value
    if claim.name == "needs_new_knowledge" and pattern(words.UNKNOWABLE).search(claim.quote):
        return claim.value is True  # what the base cannot know is a yes
    cues = words.CUES[claim.name]
    if claim.name == "knowledge_changes" and pattern(words.STILL).search(claim.quote):
        return claim.value is False
    if claim.value:
        return pattern(words.NEGATION).search(claim.quote) is None
    return pattern(rf"{words.NEGATION}{words.REACH}(?:{cues})").search(claim.quote) is not None


def _has_number(claim: Claim, text: str, end: int) -> bool:
    if claim.numeral is None:
        return claim.name == "n_examples" and claim.value == 0 and pattern(NOTHING).search(claim.quote) is not None
    if isinstance(claim.value, str):
        return False
    found = next((one for one in numerals(text) if one.start == claim.numeral), None)
    if found is None or not (claim.start <= found.start and found.end <= end) or denied(text, found):
        return False
    return reading(claim.name, found, text) == claim.value
