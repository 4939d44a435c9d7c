"""Rules put to evidence, each remembering what it looked at: one whose evidence is unchanged is not asked again.

A rule is pure, so what it did not look at cannot change what it says. With one number moved, most rules need not be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from advisor.evidence import Evidence, Found


@dataclass(frozen=True, slots=True)
class Applied:
    looked_at: frozenset[str]
    """Names, whether there was such evidence or not."""
    said: Any


class _Watched(Mapping[str, Evidence]):
    """Evidence that notes which of it is asked for. Written out, as an answer from numbers asks some thousand times."""

    __slots__ = ("found", "looked_at")

    def __init__(self, found: Found) -> None:
        self.found = found
        self.looked_at: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.looked_at.add(name)
        return self.found.get(name, default)

    def __getitem__(self, name: str) -> Evidence:
        self.looked_at.add(name)
        return self.found[name]

    def __contains__(self, name: object) -> bool:
        return self.get(str(name)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


def changed(found: Found, before: Found) -> frozenset[str]:
    """Names of the evidence that is not as it was: another, new, or gone."""
    other = {name for name, one in found.items() if (last := before.get(name)) is not one and last != one}
    return frozenset(other.union(before.keys() - found.keys()))


def applied(
    table: Mapping[str, Callable[[Found], Any]], found: Found, before: Mapping[str, Applied] | None = None,
    moved: frozenset[str] = frozenset(),
) -> dict[str, Applied]:  # fmt: skip
    """What each rule says, by its name; `before`: what they said of evidence that is the same but for what `moved`."""
    made: dict[str, Applied] = {}
    watched: _Watched | None = None
    for name, rule in table.items():
        if before is not None and moved.isdisjoint(before[name].looked_at):
            made[name] = before[name]
            continue
        watched = watched or _Watched(found)
        watched.looked_at = set()
        said = rule(watched)
        made[name] = Applied(frozenset(watched.looked_at), said)
    return made
