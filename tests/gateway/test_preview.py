"""The preview shows what the model will see and which tokens are learned, and trains nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.bases import facts
from adapters.data.dataset import open_dataset
from adapters.data.tokens import IGNORED
from adapters.prompts import PromptTemplate
from adapters.tuning.recipe import choices, defaults
from gateway.cli import preview
from gateway.cli.terminal import out
from tests import tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_llama(tmp_path_factory.mktemp("bases") / "tiny")


def looked(base: Path, file: Path, method: str = "lora", **knobs: object) -> preview.Preview:
    recipe = defaults(method, 40, facts(base))
    for knob, value in knobs.items():
        object.__setattr__(recipe, knob, value)
    return preview.look(open_dataset(file), base, PromptTemplate("Name the team."), recipe)


def test_the_spans_say_which_text_is_learned(base: Path, tmp_path: Path) -> None:
    said = preview.to_json(looked(base, tiny.write_pairs(tmp_path / "d.jsonl")), base)
    context, answer, *rest = said["shown"][0]["spans"]
    assert (context["trained"], answer["trained"]) == (False, True)
    assert context["text"].startswith("<|im_start|>system\nName the team.<|im_end|>")
    assert answer["text"] == "billing<|im_end|>"
    assert all(not span["trained"] for span in rest)
    assert json.loads(json.dumps(said)) == said
    assert said["trained_tokens"] > 0
    assert len(said["shown"]) == 3


def test_rows_that_are_too_long_are_counted_and_their_tokens_are_not(base: Path, tmp_path: Path) -> None:
    found = looked(base, tiny.write_pairs(tmp_path / "d.jsonl"), max_length=20)
    assert (found.too_long, found.trained_tokens) == (40, 0)


def test_documents_and_preferences_are_shown_as_they_are_learned(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text('{"text": "my parcel and my refund"}\n')
    (row,) = looked(base, file, "continued_pretraining").shown
    assert row.labels == [IGNORED, *row.input_ids[1:]]
    file.write_text('{"prompt": "my card", "chosen": "billing", "rejected": "returns"}\n')
    chosen, rejected = looked(base, file, objective="dpo").shown
    assert chosen.input_ids != rejected.input_ids


def test_it_is_printed_with_the_recipe_and_its_reasons(base: Path, tmp_path: Path) -> None:
    recipe = defaults("lora", 40, facts(base))
    found = looked(base, tiny.write_pairs(tmp_path / "d.jsonl"))
    with out.capture() as printed:
        preview.show(found, base, recipe, choices("lora", 40, facts(base)))
    assert "40 rows of the form pairs" in printed.get()
    assert "learning_rate" in printed.get()
    assert "tinker-cookbook" in printed.get()
