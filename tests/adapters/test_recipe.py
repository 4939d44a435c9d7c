"""A recipe is checked when it is made, survives JSON, and its defaults follow the evidence they name."""

from __future__ import annotations

import json

import pytest

from adapters.errors import InvalidInput
from adapters.tuning.recipe import RANGES, Recipe, defaults, from_json, lora_learning_rate, to_json
from adapters.tuning.shapes import typical_shape


def test_a_recipe_survives_json() -> None:
    recipe = defaults("lora", 200, typical_shape(8.0))
    assert from_json(json.loads(json.dumps(to_json(recipe)))) == recipe


@pytest.mark.parametrize("name", RANGES)
def test_a_value_out_of_range_is_refused_by_name(name: str) -> None:
    low, high = RANGES[name]
    kind = type(getattr(Recipe("lora"), name))
    for value in (kind(low - 1), kind(high + 1)):
        with pytest.raises(InvalidInput, match=f"{name} must be from") as error:
            Recipe("lora", **{name: value})
        assert error.value.param == name


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"method": "lora", "epoch": 3}, "epoch"),
        ({"method": "lora", "epochs": 2.5}, "epochs"),
        ({"method": "lora", "epochs": True}, "epochs"),
        ({"method": "lora", "learning_rate": float("nan")}, "learning_rate"),
        ({"method": "lora", "objective": "magic"}, "objective"),
        ({}, "method"),
    ],
)
def test_strange_json_is_refused_by_name(raw: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidInput) as error:
        from_json(raw)
    assert error.value.param == param


def test_the_learning_rate_falls_with_width_and_is_the_published_one_for_8b() -> None:
    assert lora_learning_rate(4096) == pytest.approx(2.9e-4, rel=0.02)
    assert lora_learning_rate(576) == 1e-3


def test_few_rows_are_read_more_often() -> None:
    facts = typical_shape(1.0)
    epochs = [defaults("lora", rows, facts).epochs for rows in (100, 5_000, 100_000)]
    assert epochs == sorted(epochs, reverse=True)


def test_continued_pretraining_of_every_weight_learns_at_full_tunings_rate() -> None:
    facts = typical_shape(0.135)
    whole = defaults("continued_pretraining", 200, facts, weights="full")
    assert whole.learning_rate == defaults("full", 200, facts).learning_rate
    assert whole.learning_rate < defaults("continued_pretraining", 200, facts).learning_rate
