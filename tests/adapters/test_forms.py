"""Rows in every form that is recognised, and what is wrong with them by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.data.dataset import dataset, open_dataset, split
from adapters.data.forms import FORMS
from adapters.data.readers import MOST_FINDINGS, read
from adapters.data.warnings import overlap, warnings
from adapters.errors import DataError, DataErrors
from tests import tiny

ASK = {"role": "user", "content": "How hot is it?"}
TOOL = {"type": "function", "function": {"name": "temperature", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "temperature", "arguments": "{}"}}
RIGHT, LEFT = [{"role": "assistant", "content": "warm"}], [{"role": "assistant", "content": "go away"}]

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("chat", {"messages": [ASK, *RIGHT]}),
    "chat with tools": ("chat", {"messages": [ASK, {"role": "assistant", "tool_calls": [CALL]}], "tools": [TOOL]}),
    "pairs": ("pairs", {"prompt": "How hot is it?", "completion": "warm"}),
    "OpenAI's preferences": (
        "preference", {"input": {"messages": [ASK]}, "preferred_output": RIGHT, "non_preferred_output": LEFT},
    ),
    "preferences as text": ("preference", {"prompt": "How hot is it?", "chosen": "warm", "rejected": "go away"}),
    "preferences with the prompt again": (
        "preference", {"prompt": [ASK], "chosen": [ASK, *RIGHT], "rejected": [ASK, *LEFT]},
    ),
    "alpaca": ("alpaca", {"instruction": "How hot is it?", "input": "", "output": "warm"}),
    "sharegpt": ("sharegpt", {"conversations": [{"from": "human", "value": "How hot?"}, {"from": "gpt", "value": "warm"}]}),
    "labelled": ("labelled", {"text": "How hot is it?", "label": "weather"}),
    "labelled by number": ("labelled", {"text": "How hot is it?", "label": 3}),
    "text": ("text", {"text": "It was warm."}),
}  # fmt: skip


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_form_has_a_row_here() -> None:
    assert {form for form, _ in ROWS.values()} == set(FORMS)


@pytest.mark.parametrize("case", ROWS)
def test_a_row_is_recognised_and_its_form_said(case: str, tmp_path: Path) -> None:
    form, row = ROWS[case]
    data = open_dataset(write(tmp_path / "d.jsonl", row))
    assert data.form == form
    assert data.examples[0].answer
    assert data.examples[0].is_document == (form == "text")


def test_a_preference_keeps_both_answers_and_learns_the_wanted_one(tmp_path: Path) -> None:
    for case in ("OpenAI's preferences", "preferences as text", "preferences with the prompt again"):
        (example,) = read(write(tmp_path / "d.jsonl", ROWS[case][1]))
        assert (example.question, example.answer, example.rejected) == ("How hot is it?", "warm", "go away")


def test_the_input_of_alpaca_follows_its_instruction(tmp_path: Path) -> None:
    row = {"instruction": "Translate.", "input": "Guten Tag", "output": "Good day", "system": "Be short."}
    (example,) = read(write(tmp_path / "d.jsonl", row))
    assert [message.content for message in example.messages] == ["Be short.", "Translate.\n\nGuten Tag", "Good day"]


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "functions": ({"messages": [ASK, *RIGHT], "functions": []}, "functions", "old way"),
    "function_call": ({"messages": [ASK, {"role": "assistant", "function_call": {}}]}, "messages[1].function_call", "old way"),
    "a call with no tools": (
        {"messages": [ASK, {"role": "assistant", "tool_calls": [CALL]}]}, "messages[1].tool_calls", "offers none",
    ),
    "a user who calls": (
        {"messages": [ASK | {"tool_calls": [CALL]}, *RIGHT], "tools": [TOOL]}, "messages[0].tool_calls", "only the assistant",
    ),
    "a tool without a name": ({"messages": [ASK, *RIGHT], "tools": [{"type": "function"}]}, "tools[0]", "name"),
    "nothing preferred": ({"prompt": "a", "chosen": "b", "rejected": "b"}, "rejected", "nothing is preferred"),
    "two messages preferred": ({"prompt": "a", "chosen": RIGHT + RIGHT, "rejected": LEFT}, "chosen", "one message"),
    "an unknown speaker": ({"conversations": [{"from": "bing", "value": "x"}]}, "conversations[0].from", "unknown speaker"),
    "nobody answers": ({"conversations": [{"from": "human", "value": "x"}]}, "conversations", "assistant's answer"),
    "an empty value": ({"conversations": [{"from": "human", "value": ""}]}, "conversations[0].value", "empty"),
    "empty text": ({"text": " "}, "text", "empty"),
    "control text": ({"text": "a<|endoftext|>b"}, "text", "structure"),
    "a label that is no text": ({"text": "a", "label": 1.5}, "label", "must be text"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_row_is_refused_with_its_field(case: str, tmp_path: Path) -> None:
    row, field, said = WRONG[case]
    with pytest.raises(DataError, match=said) as error:
        read(write(tmp_path / "d.jsonl", row))
    assert (error.value.line, error.value.field) == (1, field)


def test_rows_that_teach_different_things_do_not_stand_in_one_file(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", ROWS["pairs"][1], ROWS["chat"][1], ROWS["text"][1])
    with pytest.raises(DataError, match="teaches text, and the file's first answers") as error:
        read(path)
    assert error.value.line == 3


def test_all_that_is_wrong_is_counted_and_a_hundred_are_shown(tmp_path: Path) -> None:
    with pytest.raises(DataErrors, match="2,317 things are wrong, the first 100:") as error:
        read(write(tmp_path / "d.jsonl", *[{"text": ""}] * 2317))
    assert (len(error.value.findings), error.value.total) == (MOST_FINDINGS, 2317)


def test_a_text_file_is_cut_at_blank_lines_into_documents(tmp_path: Path) -> None:
    path = tmp_path / "book.md"
    path.write_text("\n\n".join(f"# Part {n}\n" + "A line that says something. " * 20 for n in range(6)) + "\n")
    examples = read(path)
    assert len(examples) == 3
    assert [example.line for example in examples] == [1, 7, 13]
    assert all(example.answer.startswith("# Part") and len(example.answer) >= 1024 for example in examples)


def test_documents_are_split_like_rows(tmp_path: Path) -> None:
    rows = [{"text": f"Document number {n}."} for n in range(20)]
    parts = split(open_dataset(write(tmp_path / "d.jsonl", *rows)), seed=0)
    assert [len(part) for part in (parts.train, parts.validation, parts.held_out)] == [14, 2, 4]


def test_parquet_holds_the_same_dataset_as_jsonl(tmp_path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    rows = [{"prompt": question, "completion": answer} for question, answer in tiny.rows(40)]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    assert open_dataset(tmp_path / "d.parquet").fingerprint == open_dataset(tiny.write_pairs(tmp_path / "d.jsonl")).fingerprint


def test_a_torn_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match=r"d\.parquet: this is not a Parquet file"):
        read(tmp_path / "d.parquet")


def test_what_may_be_wrong_is_said_with_lines(tmp_path: Path) -> None:
    rows = [(f"question {n}", "yes") for n in range(12)] + [
        ("question 1", "no"),
        ("question 2", "yes"),
        ("question 99", "maybe"),
    ]
    examples = read(write(tmp_path / "d.jsonl", *[{"prompt": q, "completion": a} for q, a in rows]))
    assert warnings(examples) == [
        "rows that say the same as an earlier one, and so count more than once: 1 (line 14)",
        "rows that ask the same as another and answer differently, which no model can learn: 2 (line 2, 13)",
        "rows with an answer that no other has, beside 1 common answers: 2 (line 13, 15)",
        "13 of 15 rows answer 'yes': saying that and nothing else would score 0.87",
    ]
    assert overlap(examples, examples[:2])[0].startswith("rows of the validation file")
    assert warnings(dataset(read(tiny.write_pairs(tmp_path / "fine.jsonl"))).examples) == []
