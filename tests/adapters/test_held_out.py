"""Rows that somebody brings to be scored on are the held-out rows, and nothing that they ask is learned from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.data.dataset import open_dataset
from adapters.errors import InvalidInput
from adapters.tuning.material import read
from adapters.tuning.recipe import Recipe
from adapters.tuning.request import RunRequest, create
from tests.tiny import write_pairs


def placed(tmp_path: Path, data: Path, held_out: Path) -> tuple[Path, RunRequest]:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    request = RunRequest("bot", "tiny", base, tmp_path / "models", Recipe("lora"))
    return tmp_path / "run", create(tmp_path / "run", request, data, held_out=held_out)


def pairs(file: Path, rows: list[tuple[str, str]]) -> Path:
    file.write_text("".join(json.dumps({"prompt": question, "completion": answer}) + "\n" for question, answer in rows))
    return file


def test_they_take_the_place_of_those_split_off_which_are_learned_from(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "rows.jsonl", 40)
    known = open_dataset(data).examples[0]
    judged = pairs(tmp_path / "judged.jsonl", [("something else entirely", "billing"), (known.question, known.answer)])
    folder, request = placed(tmp_path, data, judged)
    _, parts = read(folder, request)
    assert [row.question for row in parts.held_out] == ["something else entirely", known.question]
    assert len(parts.train) + len(parts.validation) == 39
    assert known.prompt_key not in {row.prompt_key for row in (*parts.train, *parts.validation)}


def test_where_they_ask_all_there_is_nothing_is_left_to_learn(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "rows.jsonl", 20)
    folder, request = placed(tmp_path, data, data)
    with pytest.raises(InvalidInput, match="ask all that the others do"):
        read(folder, request)
