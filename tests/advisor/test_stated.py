"""Numbers stated without data: their ranges, and errors that name the field."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from adapters.errors import InvalidInput
from advisor.stated import FIELDS, Stated, parse
from gateway.wire.advice import AdviceRequest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_examples", -1), ("n_examples", True), ("n_examples", 2.5), ("n_classes", 1), ("domain_shift", 1.01),
        ("domain_shift", float("nan")), ("domain_shift", "high"), ("needs_new_knowledge", 2), ("knowledge_changes", 1),
        ("task_type", "poetry"), ("gpu", "voodoo2"), ("params_b", 0), ("gpu_gib", float("inf")), ("latency_budget_ms", 0),
    ],
)  # fmt: skip
def test_a_value_out_of_range_names_its_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=field) as caught:
        Stated(**{field: value})
    assert caught.value.param == field


def test_classes_belong_to_a_classification() -> None:
    with pytest.raises(InvalidInput, match="n_classes"):
        Stated(n_classes=5, task_type="translation")
    assert Stated(n_classes=5, task_type="classification").given() == {"n_classes": 5, "task_type": "classification"}


def test_need_for_knowledge_is_a_yes_or_a_share() -> None:
    assert [one.value for one in Stated(needs_new_knowledge=True).evidence()] == [1.0]
    assert [one.value for one in Stated(needs_new_knowledge=0.3).evidence()] == [0.3]


def test_words_of_a_command_line_become_numbers() -> None:
    stated = parse({"n_examples": "40", "knowledge_changes": "true", "needs_new_knowledge": "false", "params_b": "0.135"})
    assert stated == Stated(n_examples=40, knowledge_changes=True, needs_new_knowledge=False, params_b=0.135)
    with pytest.raises(InvalidInput, match="n_examples must be a whole number, not 'many'"):
        parse({"n_examples": "many"})


def test_table_dataclass_and_wire_have_the_same_fields() -> None:
    assert list(FIELDS) == list(Stated.__dataclass_fields__)
    assert {field.name for field in msgspec.structs.fields(AdviceRequest)} == {"file_id", "base", "profile", *FIELDS}
