"""Rules put to evidence, each remembering what it looked at: one whose evidence is unchanged is not asked again.

A rule is pure, so what it did not look at cannot change what it says. With one number moved, most rules need not be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from advisor.evidence import Evidence, Found


@dataclass(frozen=True, slots=True)
class Applied:
    looked_at: Mapping[str, Evidence | None]
    said: list[Any]


class _Watched(dict[str, Evidence]):
    """Evidence that notes which of it is asked for."""

    def __init__(self, found: Found) -> None:
        super().__init__(found)
        self.looked_at: dict[str, Evidence | None] = {}

    def get(self, name: str, default: Any = None) -> Any:
        found = super().get(name, default)
        self.looked_at[name] = found
        return found

    def __getitem__(self, name: str) -> Evidence:
        found = super().__getitem__(name)
        self.looked_at[name] = found
        return found

    def __contains__(self, name: object) -> bool:
        return self.get(str(name)) is not None


def applied(
    table: Mapping[str, Callable[[Found], list[Any]]], found: Found, before: Mapping[str, Applied] | None
) -> dict[str, Applied]:
    """What each rule says, by its name; `before`: the same of evidence of which most is the same."""
    made: dict[str, Applied] = {}
    watched: _Watched | None = None
    for name, rule in table.items():
        last = None if before is None else before[name]
        if last is not None and all(found.get(one) is evidence for one, evidence in last.looked_at.items()):
            made[name] = last
            continue
        watched = watched or _Watched(found)
        watched.looked_at = {}
        said = rule(watched)
        made[name] = Applied(watched.looked_at, said)
    return made
