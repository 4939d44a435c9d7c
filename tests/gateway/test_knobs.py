"""Every field of a recipe can be set by flag and by file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from adapters.errors import InvalidInput
from adapters.tuning.recipe import CHOICES, Recipe
from gateway.cli.knobs import Knobs, turned

NOT_FLAGS = {"method", "warmup_share", "weight_decay", "max_grad_norm", "validation_share", "held_out_share", "scored_rows"}
NOT_FLAGS |= {"checkpoint_every_s"}
"""Set by a flag of its own, or rarely enough that a recipe file will do."""


def test_every_flag_is_a_field_of_the_recipe_and_every_common_field_has_a_flag() -> None:
    flags, fields = ({field.name for field in dataclasses.fields(kind)} for kind in (Knobs, Recipe))
    assert flags == fields - NOT_FLAGS


@pytest.mark.parametrize("field", [field for field in dataclasses.fields(Knobs) if field.name in CHOICES], ids=lambda f: f.name)
def test_a_flag_offers_exactly_the_words_that_a_recipe_takes(field: dataclasses.Field) -> None:
    assert all(f"'{word}'" in str(field.type) for word in CHOICES[field.name])


def test_a_flag_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('rank = 8\nvariant = "dora"\n')
    assert turned(Knobs(rank=4), file) == {"rank": 4, "variant": "dora"}
    assert turned(Knobs(), None) == {}


@pytest.mark.parametrize(("text", "said"), [("rank == 8", "not TOML"), ("ranks = 8", "no 'ranks'")])
def test_a_file_that_says_nothing_sensible_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(InvalidInput, match=said):
        turned(Knobs(), tmp_path / "recipe.toml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.toml"):
        turned(Knobs(), tmp_path / "none.toml")
