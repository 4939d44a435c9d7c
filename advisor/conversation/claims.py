"""The nouns of reading a conversation: a turn, and a claim that a fact stands in one.

Knows no rule and no wording. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

from advisor.evidence import Value


@dataclass(frozen=True, slots=True)
class Turn:
    text: str
    is_users: bool = True
    """Else the advisor's own, of which nothing counts but the questions that it asked."""


@dataclass(frozen=True, slots=True)
class Claim:
    name: str
    """A row of `stated.FIELDS`."""
    value: Value
    quote: str
    """The words that say so, as they stand in the turn."""
    turn: int
    start: int
    """Of the quote, in characters of the turn's text."""
    numeral: int | None = None
    """Where in the turn the number stands that was read; None for what is no number."""
    asked: bool = False
    """A bare answer, whose meaning is the question's before it."""
    reader: str = ""
    """The base that read it; empty where the plain reader did."""
