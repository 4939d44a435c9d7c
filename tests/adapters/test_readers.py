"""What files are read, and that everything wrong with one is said with line and field."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.data.dataset import open_dataset
from adapters.data.readers import MOST_FINDINGS, read
from adapters.errors import DataError, DataErrors
from tests import tiny


def file_of(tmp_path: Path, *rows: object, name: str = "data.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def chat(*messages: dict[str, object]) -> dict[str, object]:
    return {"messages": list(messages)}


USER = {"role": "user", "content": "hello"}
ANSWER = {"role": "assistant", "content": "hi"}


def test_the_same_rows_in_three_formats_are_the_same_dataset(tmp_path: Path) -> None:
    files = [
        tiny.write_pairs(tmp_path / "a.jsonl"),
        tiny.write_messages(tmp_path / "b.jsonl"),
        tiny.write_csv(tmp_path / "c.csv"),
    ]
    assert len({open_dataset(file).fingerprint for file in files}) == 1


@pytest.mark.parametrize("header", [("prompt", "completion"), ("input", "output"), ("question", "answer"), ("text", "label")])
def test_known_column_pairs_need_no_naming(tmp_path: Path, header: tuple[str, str]) -> None:
    assert read(tiny.write_csv(tmp_path / "d.csv", 3, header))[0].answer == "billing"


def test_other_columns_are_given_by_name(tmp_path: Path) -> None:
    path = tiny.write_csv(tmp_path / "d.csv", 3, ("ticket", "team"))
    with pytest.raises(DataErrors, match="Known: messages; prompt, completion; input, output"):
        read(path)
    assert read(path, prompt_column="ticket", completion_column="team")[2].answer == "account"


def test_a_byte_order_mark_and_empty_lines_are_passed_over_and_lines_still_count_as_an_editor_shows_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"prompt": "a", "completion": "b"}\r\n\r\n{"prompt": "c", "completion": "d"}\r\n')
    assert [example.line for example in read(path)] == [1, 3]


def test_a_csv_row_over_several_lines_is_named_by_its_first(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text('prompt,completion\n"one\ntwo",x\n"three",\n')
    with pytest.raises(DataError) as error:
        read(path)
    assert (error.value.line, error.value.field) == (4, "completion")


def test_a_line_separator_inside_a_text_does_not_end_the_row(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"prompt": "a\u2028b", "completion": "c"}\n')
    assert read(path)[0].question == "a\u2028b"


def test_weight_decides_which_answers_are_learned(tmp_path: Path) -> None:
    path = file_of(tmp_path, chat(USER, ANSWER | {"weight": 0}, USER, ANSWER | {"weight": 1}))
    assert read(path)[0].supervised == (3,)


def test_of_message_lists_only_the_completion_is_learned(tmp_path: Path) -> None:
    path = file_of(tmp_path, {"prompt": [USER, ANSWER, USER], "completion": [ANSWER]})
    assert read(path)[0].supervised == (3,)


WRONG = {
    "not JSON": ("{oops", None),
    "not an object": ('["a"]', None),
    "unknown role": (chat({"role": "bot", "content": "x"}, ANSWER), "messages[0].role"),
    "no content": (chat({"role": "user"}, ANSWER), "messages[0].content"),
    "content that is no text": (chat({"role": "user", "content": 3}, ANSWER), "messages[0].content"),
    "empty answer": (chat(USER, {"role": "assistant", "content": " "}), "messages[1].content"),
    "no answer at the end": (chat(USER, ANSWER, USER), "messages"),
    "nothing asked": (chat(ANSWER), "messages"),
    "nothing to learn": (chat(USER, ANSWER | {"weight": 0}), "messages"),
    "weight out of range": (chat(USER, ANSWER | {"weight": 2}), "messages[1].weight"),
    "weight on a question": (chat(USER | {"weight": 1}, ANSWER), "messages[0].weight"),
    "half a pair": ({"prompt": "a", "answer": "b"}, "completion"),
    "empty completion": ({"prompt": "a", "completion": ""}, "completion"),
    "number for text": ({"prompt": "a", "completion": 1}, "completion"),
    "control text": ({"prompt": "a <|im_start|>system", "completion": "b"}, "prompt"),
    "control text in a message": (chat(USER, {"role": "assistant", "content": "x<|endoftext|>"}), "messages[1].content"),
    "half a surrogate pair": ('{"prompt": "a\\ud800", "completion": "b"}', "prompt"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_row_is_refused_with_line_and_field(tmp_path: Path, case: str) -> None:
    row, field = WRONG[case]
    path = file_of(tmp_path, {"prompt": "fine", "completion": "fine"}, row)
    with pytest.raises(DataError) as error:
        read(path)
    assert (error.value.line, error.value.field) == (2, field)
    assert "line 2" in error.value.message


def test_everything_wrong_with_a_file_is_said_at_once(tmp_path: Path) -> None:
    path = file_of(tmp_path, "{oops", {"prompt": "a", "completion": "b"}, {"prompt": "", "completion": "b"})
    with pytest.raises(DataErrors, match="2 things are wrong") as error:
        read(path)
    assert [finding.line for finding in error.value.findings] == [1, 3]


def test_findings_are_cut_at_a_hundred(tmp_path: Path) -> None:
    with pytest.raises(DataErrors, match="the first 100") as error:
        read(file_of(tmp_path, *["{"] * 250))
    assert len(error.value.findings) == MOST_FINDINGS


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n{"prompt": "\xe4", "completion": "b"}\n')
    with pytest.raises(DataError, match="not UTF-8") as error:
        read(path)
    assert error.value.line == 2


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no rows"):
        read(path)


def test_an_upload_is_called_by_its_own_name(tmp_path: Path) -> None:
    path = file_of(tmp_path, "{oops", name="content")
    with pytest.raises(DataError) as error:
        read(path, shown_as="tickets.jsonl")
    assert error.value.message.startswith("tickets.jsonl, line 1:")
    assert str(tmp_path) not in error.value.message


@given(st.binary(max_size=300), st.sampled_from(["d.jsonl", "d.csv", "d"]))
def test_no_bytes_bring_the_readers_down(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        assert read(path)
