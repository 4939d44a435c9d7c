"""Reads plain statements out of a conversation: a number next to the words that name it, a kind of task, a yes or no.

No model has a part in it. What it does not see it leaves for others, who are held to the same rule (`grounding.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from advisor.conversation import words
from advisor.conversation.around import AROUND, DENIED, LITERAL, NOTHING
from advisor.conversation.claims import Claim, Turn
from advisor.conversation.numerals import Numeral, numerals
from advisor.conversation.questions import asked_in
from advisor.conversation.readings import reading
from advisor.conversation.words import pattern
from advisor.stated import FIELDS

BEFORE, AFTER = 80, 80
"""Characters around a number that are looked at."""
_MARKS = ",.;:!?\n"
"""They end a clause."""


def read(turns: Sequence[Turn]) -> list[Claim]:
    """Every plain statement of the user's turns, in order; the same field may be stated many times."""
    found: list[Claim] = []
    for place, turn in enumerate(turns):
        if turn.is_users:
            said = list(_said(place, turn.text))
            found += said
            found += _bare(place, turns, said)
    if not any(claim.name == "task_type" for claim in found):  # who counts labels classifies
        labels = [claim for claim in found if claim.name == "n_classes" and not claim.asked]
        found += [replace(claim, name="task_type", value="classification", numeral=None) for claim in labels[-1:]]
    return found


def denied(turn: str, numeral: Numeral) -> bool:
    """It is said that the number is not so."""
    return pattern(DENIED).search(turn, max(0, numeral.start - BEFORE), numeral.start) is not None


def open_numerals(text: str, claims: Sequence[Claim], place: int) -> list[Numeral]:
    """Numbers of the turn that stand for nothing yet, neither denied nor part of a machine's name."""
    taken = {claim.numeral for claim in claims if claim.turn == place}
    spans = [found.span() for machine in words.MACHINES.values() for found in machine.finditer(text)]
    return [
        one for one in numerals(text)
        if one.start not in taken and not denied(text, one) and not any(a <= one.start < b for a, b in spans)
    ]  # fmt: skip


def _said(place: int, text: str) -> Iterator[Claim]:
    machines = [(name, found) for name, machine in words.MACHINES.items() for found in machine.finditer(text)]
    for number, (name, found) in enumerate(machines):
        if not any(other.start() <= found.start() < other.end() for _, other in machines[:number]):
            yield Claim("gpu", name, found[0], place, found.start())
    counted = [_of_number(place, text, numeral) for numeral in open_numerals(text, (), place)]
    numbers = [claim for claim in counted if claim is not None]
    yield from numbers
    by_number = {claim.name for claim in numbers}
    yield from (claim for claim in _words(place, text) if claim.name not in by_number)  # "40 % need" says more than "need"
    for found in pattern(NOTHING).finditer(text):
        yield Claim("n_examples", 0, found[0], place, found.start())


def _of_number(place: int, text: str, numeral: Numeral) -> Claim | None:
    named = _ends(LITERAL, text, numeral.start)
    if named is not None:
        name = re.sub("[ -]", "_", named[1].lower())
        value = reading(name, numeral, text)
        if value is not None:
            return Claim(name, value, text[named.start() : numeral.end], place, named.start(), numeral.start)
    for around in AROUND:
        right = pattern(around.after).match(text, numeral.end, min(len(text), numeral.end + AFTER))
        left = _ends(around.before, text, numeral.start) if right and around.before else None
        if right is None or (around.before and left is None) or (around.billions and numeral.scale < 1e6):
            continue
        if FIELDS[around.name].unit == "share" and not (numeral.percent or numeral.point):
            continue
        value = reading(around.name, numeral, text)
        if value is not None:
            start = left.start() if left else numeral.start
            return Claim(around.name, value, text[start : max(right.end(), numeral.end)].rstrip(), place, start, numeral.start)
    return None


def _ends(said: str, text: str, end: int) -> re.Match[str] | None:
    """What stands right before `end`."""
    return pattern(rf"(?:{said})\Z").search(text, max(0, end - BEFORE), end)


def _words(place: int, text: str) -> Iterator[Claim]:
    for name, said in words.TASKS.items():
        found = pattern(said).search(text)
        if found and not pattern(DENIED).search(text, max(0, found.start() - BEFORE), found.start()):
            yield Claim("task_type", name, found[0], place, found.start())
            break
    for name, statements in words.SAID.items():
        for value, said in statements:
            found = pattern(said).search(text)
            if found:
                yield Claim(name, value, found[0], place, found.start())
                break


def _bare(place: int, turns: Sequence[Turn], said: Sequence[Claim]) -> Iterator[Claim]:
    """Answers without words of their own, where the questions before them leave no doubt which is meant."""
    text, known = turns[place].text, {claim.name for claim in said}
    before = turns[place - 1] if place else None
    if before is None or before.is_users:
        return
    asked = [name for name in asked_in(before.text) if name not in known and not (name == "gpu_gib" and "gpu" in known)]
    yes_no = [name for name in asked if FIELDS[name].kind is bool or name == "needs_new_knowledge"]
    numbers = [name for name in asked if FIELDS[name].kind in (int, float) and name not in yes_no]
    free = [one for one in open_numerals(text, said, place) if _is_alone(text, one.start, one.end)]
    if len(free) == len(numbers):
        for name, numeral in zip(numbers, free, strict=True):
            value = reading(name, numeral, text)
            if value is not None:
                quote = text[numeral.start : numeral.end]
                yield Claim(name, value, quote, place, numeral.start, numeral.start, asked=True)
    taken = [range(claim.start, claim.start + len(claim.quote)) for claim in said]
    bare = [
        one
        for one in pattern(words.BARE).finditer(text)
        if not any(one.start() in span for span in taken) and _opens(text, one.start())
    ]
    if len(bare) == len(yes_no):
        for name, found in zip(yes_no, bare, strict=True):
            yield Claim(name, found["yes"] is not None, found[0], place, found.start(), asked=True)


def _is_alone(text: str, start: int, end: int) -> bool:
    """Nothing else of meaning is said in its clause, so what it answers is the question."""
    left = max(text.rfind(mark, 0, start) for mark in _MARKS) + 1
    right = min((place for mark in _MARKS if (place := text.find(mark, end)) >= 0), default=len(text))
    beside = text[left:start] + " " + text[end:right]
    return re.search(r"\w", pattern(words.FILLER).sub("", pattern(words.BARE).sub("", beside))) is None


def _opens(text: str, start: int) -> bool:
    """It begins the turn, or a clause of it."""
    return (
        re.search(r"(?:^|[,.;:!?\n]|\b(?:and|but|then))\s*(?:\d{1,2}[.)]\s*)?\Z", text[max(0, start - BEFORE) : start])
        is not None
    )
