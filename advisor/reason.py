"""A reason: a sentence with places for numbers, and the evidence that fills them. Without the evidence there is no reason.

What votes, bars, warns or is told is made of these, so nothing is said that was not measured, stated or computed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from advisor.evidence import Evidence, Found

PLACE = re.compile(r"\{([^{}:]+)(?::([^{}]*))?\}")


@dataclass(frozen=True, slots=True)
class Reason:
    """`says` has places as `{n_examples}` or `{base_score:.2f}`: the name of a piece of evidence, and how to write its value.

    Raises ValueError where nothing is quoted, where a place has no evidence, and where the evidence has no value.
    """

    says: str
    quotes: tuple[Evidence, ...]

    def __post_init__(self) -> None:
        if not self.quotes:
            raise ValueError(f"a reason needs evidence: '{self.says}'")
        known = [one.name for one in self.quotes if one.value is not None]
        if missing := [name for name in _places(self.says) if name not in known]:
            raise ValueError(f"'{self.says}' speaks of {', '.join(missing)}, of which there is no evidence")

    def against(self) -> Reason:
        """The same, told of a method that it speaks against."""
        return replace(self, says=f"against it: {self.says}")

    def __str__(self) -> str:
        values = {one.name: one for one in self.quotes}
        return PLACE.sub(lambda place: shown(values[place[1]], place[2]), self.says)


def because(found: Found, says: str, *also: str) -> Reason:
    """A reason from what is known: every place of `says` names evidence in `found`; `also` is quoted without being said."""
    return Reason(says, tuple(found[name] for name in (*_places(says), *also) if name in found))


@lru_cache(maxsize=2048)
def _places(says: str) -> Sequence[str]:
    """Names of the evidence it speaks of, each once."""
    return tuple(dict.fromkeys(name for name, _ in PLACE.findall(says)))


def shown(evidence: Evidence, how: str | None = None) -> str:
    """The value as a sentence has it, with its interval where it has one."""
    value = evidence.value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, str):
        return str(value)
    form = how or _form(evidence, float(value))
    if evidence.interval is None:
        return format(value, form)
    low, high = evidence.interval
    return f"{format(value, form)} ({format(low, form)} to {format(high, form)})"


def _form(evidence: Evidence, value: float) -> str:
    if isinstance(evidence.value, int) or abs(value) >= 100:
        return ",.0f"
    return ".2f" if evidence.unit in ("share", "probability") else ".3g"
