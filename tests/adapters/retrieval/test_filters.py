"""Filters on attributes, as OpenAI's clients send them."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.errors import InvalidInput
from adapters.retrieval.filters import matches, parse_filter

FILE = {"year": 2024, "by": "Orla", "is_draft": False, "score": 0.5, "one": 1}


def compared(kind: str, key: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "key": key, "value": value}


@pytest.mark.parametrize(
    ("raw", "fits"),
    [
        (compared("eq", "year", 2024), True), (compared("eq", "year", 2024.0), True), (compared("eq", "year", "2024"), False),
        (compared("eq", "by", "Orla"), True), (compared("eq", "by", "orla"), False), (compared("eq", "is_draft", False), True),
        (compared("eq", "one", True), False), (compared("eq", "is_draft", 0), False), (compared("eq", "absent", 1), False),
        (compared("ne", "year", 2023), True), (compared("ne", "year", 2024), False), (compared("ne", "absent", 1), True),
        (compared("ne", "year", "2024"), True),
        (compared("gt", "year", 2023), True), (compared("gt", "year", 2024), False), (compared("gte", "year", 2024), True),
        (compared("lt", "score", 1), True), (compared("lte", "score", 0.5), True), (compared("lt", "by", "P"), True),
        (compared("gt", "by", 3), False), (compared("lt", "absent", 3), False),
        (compared("in", "by", ["Bram", "Orla"]), True), (compared("in", "by", ["Bram"]), False),
        (compared("in", "absent", [1]), False), (compared("nin", "by", ["Bram"]), True),
        (compared("nin", "by", ["Orla", 1]), False), (compared("nin", "absent", [1]), True),
        (compared("in", "one", [True]), False),
        ({"type": "and", "filters": [compared("eq", "by", "Orla"), compared("gt", "year", 2000)]}, True),
        ({"type": "and", "filters": [compared("eq", "by", "Orla"), compared("gt", "year", 3000)]}, False),
        ({"type": "or", "filters": [compared("eq", "by", "Bram"), compared("gt", "year", 2000)]}, True),
        ({"type": "or", "filters": [{"type": "and", "filters": [compared("eq", "by", "Bram")]}]}, False),
    ],
)  # fmt: skip
def test_a_file_fits_or_does_not(raw: dict[str, Any], fits: bool) -> None:
    assert matches(parse_filter(raw), FILE) is fits


@pytest.mark.parametrize(
    ("raw", "place", "said"),
    [
        (None, "filters", "an object"),
        ([], "filters", "an object"),
        ({"type": "like", "key": "a", "value": 1}, "filters.type", "one of eq"),
        ({"key": "a", "value": 1}, "filters.type", "not None"),
        ({"type": "eq", "key": "", "value": 1}, "filters.key", "name of an attribute"),
        ({"type": "eq", "key": "a", "value": None}, "filters.value", "a text, a number or a boolean"),
        ({"type": "eq", "key": "a", "value": [1]}, "filters.value", "a text, a number or a boolean"),
        ({"type": "gt", "key": "a", "value": True}, "filters.value", "no order"),
        ({"type": "in", "key": "a", "value": 1}, "filters.value", "a list"),
        ({"type": "in", "key": "a", "value": [{}]}, "filters.value", "a list"),
        ({"type": "eq", "key": "a", "value": 1, "also": 2}, "filters", "no field 'also'"),
        ({"type": "and", "filters": []}, "filters.filters", "at least one"),
        ({"type": "and", "filters": [compared("eq", "a", 1), {"type": "or", "filters": [{"type": "x"}]}]},
         "filters.filters[1].filters[0].type", "not 'x'"),
    ],
)  # fmt: skip
def test_what_is_no_filter_is_named_by_its_place(raw: Any, place: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as raised:
        parse_filter(raw)
    assert raised.value.param == place


def test_filters_nest_only_so_deep() -> None:
    raw = compared("eq", "a", 1)
    for _ in range(1000):
        raw = {"type": "and", "filters": [raw]}
    with pytest.raises(InvalidInput, match="too deep"):
        parse_filter(raw)
