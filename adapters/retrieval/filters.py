"""Filters on a file's attributes, as OpenAI's vector stores take them. Knows no file and no store.

    {"type": "eq", "key": "year", "value": 2024}        also ne, gt, gte, lt, lte, in, nin
    {"type": "and", "filters": [...]}                   also or

A file without the attribute fits `ne` and `nin`, and no other. Text and numbers are compared with their own kind only: a file
whose attribute is of another kind fits as one without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adapters.errors import InvalidInput

Value = str | float | bool
"""What an attribute may be."""

DEEPEST = 8

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda have, want: bool(have == want),
    "ne": lambda have, want: bool(have != want),
    "gt": lambda have, want: bool(have > want),
    "gte": lambda have, want: bool(have >= want),
    "lt": lambda have, want: bool(have < want),
    "lte": lambda have, want: bool(have <= want),
}
LISTED, COMPOUND = ("in", "nin"), ("and", "or")


@dataclass(frozen=True, slots=True)
class Comparison:
    type: str
    key: str
    values: tuple[Value, ...]
    """One, except for `in` and `nin`."""


@dataclass(frozen=True, slots=True)
class Compound:
    type: str
    filters: tuple[Filter, ...]


Filter = Comparison | Compound


def parse_filter(raw: Any, path: str = "filters") -> Filter:
    """Raises InvalidInput that names the place, such as `filters.filters[1].value`."""
    return _parsed(raw, path, DEEPEST)


def matches(wanted: Filter, attributes: Mapping[str, Value]) -> bool:
    if isinstance(wanted, Compound):
        every = all if wanted.type == "and" else any
        return every(matches(part, attributes) for part in wanted.filters)
    have = attributes.get(wanted.key)
    if have is None or not any(_kind(have) is _kind(value) for value in wanted.values):
        return wanted.type in ("ne", "nin")
    if wanted.type in LISTED:
        held = any(_kind(have) is _kind(value) and have == value for value in wanted.values)
        return held is (wanted.type == "in")
    return COMPARISONS[wanted.type](have, wanted.values[0])


def _parsed(raw: Any, path: str, deeper: int) -> Filter:
    if not isinstance(raw, dict):
        raise InvalidInput(f"{path} must be an object with a type", param=path)
    kind = raw.get("type")
    fields = {"type", "filters"} if kind in COMPOUND else {"type", "key", "value"}
    if kind not in (*COMPARISONS, *LISTED, *COMPOUND):
        raise InvalidInput(
            f"{path}.type must be one of {', '.join((*COMPARISONS, *LISTED, *COMPOUND))}, not {kind!r}", param=f"{path}.type"
        )
    if unknown := sorted(map(str, raw.keys() - fields)):
        raise InvalidInput(f"{path} has no field '{unknown[0]}'; '{kind}' has {', '.join(sorted(fields))}", param=path)
    if kind in COMPOUND:
        parts = raw.get("filters")
        if not isinstance(parts, list) or not parts:
            raise InvalidInput(f"{path}.filters must be a list of at least one filter", param=f"{path}.filters")
        if deeper == 0:
            raise InvalidInput(f"{path} is too deep: filters may stand {DEEPEST} deep in each other", param=path)
        return Compound(kind, tuple(_parsed(part, f"{path}.filters[{n}]", deeper - 1) for n, part in enumerate(parts)))
    key = raw.get("key")
    if not isinstance(key, str) or not key:
        raise InvalidInput(f"{path}.key must be the name of an attribute", param=f"{path}.key")
    return Comparison(kind, key, _values(raw.get("value"), kind, f"{path}.value"))


def _values(raw: Any, kind: str, path: str) -> tuple[Value, ...]:
    if kind in LISTED:
        if not isinstance(raw, list) or not raw or not all(isinstance(value, str | float | int) for value in raw):
            raise InvalidInput(f"{path} must be a list of texts, numbers or booleans for '{kind}'", param=path)
        return tuple(raw)
    if not isinstance(raw, str | float | int):
        raise InvalidInput(f"{path} must be a text, a number or a boolean for '{kind}'", param=path)
    if kind not in ("eq", "ne") and isinstance(raw, bool):
        raise InvalidInput(f"{path} must be a text or a number for '{kind}': true and false have no order", param=path)
    return (raw,)


def _kind(value: Value) -> type:
    """Python takes True for 1; a filter does not."""
    return type(value) if isinstance(value, bool | str) else float
