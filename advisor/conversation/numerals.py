"""Numbers as people write them: 250, 1,000, 1k, 7B, 40 %, two hundred, a dozen. Finds them in a text, each with its place.

What is no quantity is no numeral: dates, times, versions, addresses, ordinals, the digits in names. Knows no field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
WORDS: dict[str, int] = {word: n for n, word in enumerate(_SMALL)} | {word: 10 * n for n, word in enumerate(_TENS, start=2)}
SCALES: dict[str, float] = {
    "dozen": 12, "hundred": 1e2, "k": 1e3, "thousand": 1e3, "m": 1e6, "mn": 1e6, "million": 1e6, "b": 1e9, "bn": 1e9,
    "billion": 1e9,
}  # fmt: skip

_NOT_COUNTS = re.compile(
    r"https?://\S+|\d{4}-\d{1,2}-\d{1,2}|\d{1,2}:\d{2}|(?<!\d)\d{1,15}(?:\.\d{1,15}){2,}|\d{1,2}/\d{1,2}/\d{2,4}"
    r"|^[ \t]*\d{1,2}[.)](?=\s)"  # a list's numbering
    r"|(?<!\w)\d{1,15}(?:st|nd|rd|th)\b|(?<!\d)\d{1,15}(?:,\d{1,2})+(?!\d)",  # 1,5 is one number or two, by who writes it
    re.MULTILINE | re.IGNORECASE,
)
_PERCENT = r"(?P<percent>\s*(?:%|per\s?cent\b))"
_DIGITS = re.compile(
    r"(?<![\w.,#/])(?P<money>[$€£]\s?)?(?P<digits>\d{1,3}(?:,\d{3}){1,5}(?:\.\d{1,9})?|\d{1,15}(?:\.\d{1,9})?)(?![,.]?\d)"
    rf"(?:{_PERCENT}|(?P<suffix>[kmb]|bn|mn)\b|[\s-](?P<scale>hundred|thousand|million|billion|bn|mn)\b)?",
    re.IGNORECASE,
)
_UNIT = "(?:" + "|".join(sorted(WORDS, key=len, reverse=True)) + ")"
_BELOW_100 = rf"(?:(?:{'|'.join(_TENS)})(?:[\s-](?:{'|'.join(_SMALL[1:10])}))?|{_UNIT})"
_BELOW_1000 = rf"(?:(?:an?\s|{_BELOW_100}[\s-])hundred(?:\s(?:and\s)?{_BELOW_100})?|{_BELOW_100})"
_IN_WORDS = re.compile(
    rf"\b(?P<words>(?:an?\s|{_BELOW_1000}[\s-])(?:thousand|million|billion|dozen)(?:\s(?:and\s)?{_BELOW_1000})?|{_BELOW_1000})\b"
    rf"(?!-\w){_PERCENT}?",
    re.IGNORECASE,
)
_NAME_BEFORE = re.compile(r"[A-Za-z][\w.]*-\Z")


@dataclass(frozen=True, slots=True)
class Numeral:
    start: int
    end: int
    """Of the number with its scale or percent sign."""
    value: float
    """Scaled; of 40 % it is 40."""
    scale: float = 1.0
    """What it was multiplied by: 1e9 in 7B."""
    percent: bool = False
    money: bool = False
    """In dollars."""
    in_words: bool = False
    named: bool = False
    """The end of a name, as in Mistral-7B."""
    point: bool = False
    """Written with a decimal point."""


@lru_cache(maxsize=64)
def numerals(text: str) -> tuple[Numeral, ...]:
    """In the order of the text; no two overlap."""
    plain = _NOT_COUNTS.sub(lambda found: "_" * len(found[0]), text)
    found = [*_in_digits(plain), *_in_words(plain)]
    return tuple(sorted(found, key=lambda one: one.start))


def _in_digits(text: str) -> Iterator[Numeral]:
    for match in _DIGITS.finditer(text):
        money, suffix = match["money"], (match["suffix"] or match["scale"] or "").lower()
        named = _NAME_BEFORE.search(text, max(0, match.start() - 40), match.start()) is not None
        if (money and money[0] != "$") or (named and suffix not in ("b", "m")):
            continue
        scale = SCALES[suffix] if suffix else 1.0
        value = round(float(match["digits"].replace(",", "")) * scale, 6)
        yield Numeral(
            match.start(), match.end(), value, scale, bool(match["percent"]), bool(money), named=named,
            point="." in match["digits"],
        )  # fmt: skip


def _in_words(text: str) -> Iterator[Numeral]:
    for match in _IN_WORDS.finditer(text):
        value, scale = words_value(match["words"])
        yield Numeral(match.start(), match.end(), value, scale, bool(match["percent"]), in_words=True)


def words_value(words: str) -> tuple[float, float]:
    """The value of `two hundred and fifty thousand`, and its largest scale from a thousand on."""
    total, current, largest = 0.0, 0.0, 1.0
    for word in re.split(r"[\s-]+", words.lower()):
        if word in ("a", "an", "and"):
            continue
        if word in WORDS:
            current += WORDS[word]
        elif word in ("hundred", "dozen"):
            current = (current or 1) * SCALES[word]
        else:
            total, current = total + (current or 1) * SCALES[word], 0.0
            largest = max(largest, SCALES[word])
    return total + current, largest
