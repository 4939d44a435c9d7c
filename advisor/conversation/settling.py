"""From claims to what is known: the last statement of a field counts, and what cannot be is left out, and said.

Knows no model and no wording of an advice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from adapters.errors import InvalidInput
from advisor.conversation.claims import Claim, Turn
from advisor.conversation.grounding import grounded
from advisor.conversation.numerals import Numeral
from advisor.conversation.reader import open_numerals
from advisor.stated import Stated

SAME = ("gpu", "gpu_gib")
"""Two ways of stating one thing: a later one takes the place of the earlier."""
MOST_UNPLACED = 3


@dataclass(frozen=True, slots=True)
class Known:
    facts: Mapping[str, Claim]
    stated: Stated
    refused: tuple[str, ...] = ()
    """Why something that was said is left out."""
    unplaced: tuple[str, ...] = ()
    """Numbers of the last turn of which it was not clear what they count, as they stand there."""


def settle(turns: Sequence[Turn], claims: Sequence[Claim]) -> Known:
    """Claims that are not grounded are dropped."""
    facts: dict[str, Claim] = {}
    held = [claim for claim in claims if grounded(claim, turns)]
    for claim in sorted(held, key=lambda one: (one.turn, one.start)):
        facts.pop(claim.name, None)
        facts[claim.name] = claim
    _keep_the_later(facts)
    refused = list(_out_of_range(facts))
    if {"n_classes", "task_type"} <= facts.keys() and facts["task_type"].value != "classification":
        refused.append(
            f'"{facts.pop("n_classes").quote}": labels belong to a classification, and this is {facts["task_type"].value}'
        )
    stated = Stated(**{name: claim.value for name, claim in facts.items()})  # type: ignore[arg-type]
    return Known(facts, stated, tuple(refused), tuple(_unplaced(turns, held)))


def _keep_the_later(facts: dict[str, Claim]) -> None:
    both = [facts[name] for name in SAME if name in facts]
    if len(both) == 2 and both[0].turn != both[1].turn:
        del facts[min(both, key=lambda one: one.turn).name]


def _out_of_range(facts: dict[str, Claim]) -> Iterator[str]:
    for name, claim in list(facts.items()):
        try:
            Stated(**{name: claim.value})  # type: ignore[arg-type]
        except InvalidInput as error:
            del facts[name]
            yield f'"{claim.quote}": {error.message}'


def _unplaced(turns: Sequence[Turn], claims: Sequence[Claim]) -> Iterator[str]:
    last = max((place for place, turn in enumerate(turns) if turn.is_users), default=None)
    if last is None:
        return
    text = turns[last].text
    free = [one for one in open_numerals(text, claims, last) if not one.in_words and not _is_range(one, text)]
    for numeral in free[:MOST_UNPLACED]:
        yield text[numeral.start : numeral.end]


def _is_range(numeral: Numeral, text: str) -> bool:
    """The lower end of one, whose upper end was read."""
    after = text[numeral.end : numeral.end + 5].lstrip()
    return after.startswith(("-", "–", "to "))
