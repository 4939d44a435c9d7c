"""From a data file to examples: JSONL in OpenAI's `messages` form, JSONL or CSV with a prompt and a completion.

Everything wrong with a file is found in one pass and said with line and field, so that it can be mended in one go.
Knows no tokenizer; that a row is too long for a base is found in `tokens.py`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapters.conversation import ROLES, Example, Message
from adapters.errors import DataError, DataErrors

MOST_FINDINGS = 100

PAIRS = (("prompt", "completion"), ("input", "output"), ("question", "answer"), ("text", "label"))
"""Column names known without being told, in the order in which they are looked for."""

CONTROL = re.compile(r"<\|[A-Za-z0-9_]+\|>|<(?:start|end)_of_turn>")
"""Text that chat models read as structure: inside a row it would let the row speak as somebody else."""


class _Wrong(Exception):
    """One thing wrong with one row; becomes a DataError where file and line are known."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message, self.field = message, field


def read(
    path: Path, *, prompt_column: str | None = None, completion_column: str | None = None, shown_as: str | None = None
) -> list[Example]:
    """The file's examples in file order; empty lines are passed over, a byte-order mark is allowed.

    The column names apply to CSV and to JSONL alike. `shown_as` is the file's name in errors (an upload's own name).
    Raises DataError for one finding, DataErrors for several (at most 100).
    """
    shown = shown_as or str(path)
    columns = None
    if prompt_column is not None or completion_column is not None:
        columns = (prompt_column or "prompt", completion_column or "completion")
    text = _text(path, shown)
    form = data_format(path, shown_as)
    rows = _json_rows(text) if form == "jsonl" else _csv_rows(text, shown, delimiter="\t" if form == "tsv" else ",")
    examples: list[Example] = []
    findings: list[DataError] = []
    for line, row in rows:
        try:
            if isinstance(row, _Wrong):
                raise row
            examples.append(_example(row, line, columns))
        except _Wrong as wrong:
            findings.append(DataError(wrong.message, path=shown, line=line, field=wrong.field))
            if len(findings) == MOST_FINDINGS:
                break
    if len(findings) == 1:
        raise findings[0]
    if findings:
        raise DataErrors(findings, path=shown, cut=len(findings) == MOST_FINDINGS)
    if not examples:
        raise DataError("the file holds no rows; it needs one example a line", path=shown)
    return examples


def data_format(path: Path, shown_as: str | None = None) -> str:
    """`csv`, `tsv` or `jsonl`: by the name's ending where it is telling, else by the first character."""
    ending = Path(shown_as or path).suffix.lower().removeprefix(".")
    if ending in ("csv", "tsv"):
        return ending
    if ending in ("jsonl", "json", "ndjson") or not path.is_file():
        return "jsonl"
    with path.open("rb") as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    return "jsonl" if start[:1] in (b"{", b"[", b"") else "csv"


def _text(path: Path, shown: str) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError("there is no such file", path=shown) from None
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror})", path=shown) from error
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"byte {raw[error.start]:#04x} is not UTF-8; save the file as UTF-8", path=shown, line=line) from None


def _json_rows(text: str) -> Iterator[tuple[int, dict[str, Any] | _Wrong]]:
    # not splitlines(): JSON strings may hold U+2028 and its kin, which that takes for line ends
    for line, said in enumerate(text.split("\n"), start=1):
        if not said.strip():
            continue
        try:
            row = json.loads(said)
        except (json.JSONDecodeError, RecursionError) as error:
            where = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            yield line, _Wrong(f"this is not JSON{where} ({reason}); write one JSON object a line")
            continue
        yield line, row if isinstance(row, dict) else _Wrong(f"must be a JSON object, not {_kind(row)}; one object a line")


def _csv_rows(text: str, shown: str, delimiter: str) -> Iterator[tuple[int, dict[str, Any] | _Wrong]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                pass  # a blank line, or a row of empty cells as spreadsheets leave them at the end
            elif header is None:
                header = [cell.strip() for cell in cells]
                if len(set(header)) != len(header):
                    raise DataError("two columns have the same name", path=shown, line=line)
            elif len(cells) != len(header):
                yield line, _Wrong(f"{len(cells)} cells where the header has {len(header)}; quote cells that hold commas")
            else:
                yield line, dict(zip(header, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        yield line, _Wrong(f"this is not CSV ({error})")


def _example(row: dict[str, Any], line: int, columns: tuple[str, str] | None) -> Example:
    if columns is None and "messages" in row:
        return _conversation(row["messages"], line)
    prompt, completion = columns or _known_pair(row)
    for column in (prompt, completion):
        if column not in row:
            raise _Wrong(f"there is no such column; the row has: {', '.join(row) or 'nothing'}", column)
    asked, answered = row[prompt], row[completion]
    if isinstance(asked, list) or isinstance(answered, list):
        return _joined(asked, answered, line, (prompt, completion))
    messages = (Message("user", _said(asked, prompt)), Message("assistant", _said(answered, completion)))
    return Example(messages, line, supervised=(1,))


def _known_pair(row: dict[str, Any]) -> tuple[str, str]:
    for pair in PAIRS:
        if pair[0] in row and pair[1] in row:
            return pair
    for prompt, completion in PAIRS:  # half a pair says what was meant
        if (prompt in row) != (completion in row):
            raise _Wrong(
                f"the row has '{prompt if prompt in row else completion}' without it", completion if prompt in row else prompt
            )
    known = "; ".join(f"{prompt}, {completion}" for prompt, completion in PAIRS)
    raise _Wrong(f"no known columns among: {', '.join(row)}. Known: messages; {known}. Or name yours")


def _joined(asked: Any, answered: Any, line: int, names: tuple[str, str]) -> Example:
    """Prompt and completion as message lists, or one of them as plain text; only the completion is learned."""
    before = asked if isinstance(asked, list) else [{"role": "user", "content": asked}]
    after = answered if isinstance(answered, list) else [{"role": "assistant", "content": answered}]
    if not before or not after:
        raise _Wrong("the list is empty", names[0] if not before else names[1])
    example = _conversation(before + after, line, within=names[0])
    learned = tuple(index for index in example.supervised if index >= len(before))
    return Example(example.messages, line, learned)


def _conversation(raw: Any, line: int, within: str = "messages") -> Example:
    if not isinstance(raw, list) or not raw:
        raise _Wrong(f"must be a list of messages, not {'an empty list' if raw == [] else _kind(raw)}", within)
    messages: list[Message] = []
    supervised: list[int] = []
    for index, said in enumerate(raw):
        field = f"{within}[{index}]"
        if not isinstance(said, dict):
            raise _Wrong(f"a message must be an object, not {_kind(said)}", field)
        role = said.get("role")
        if role not in ROLES:
            raise _Wrong(f"unknown role {role!r}; use one of {', '.join(ROLES)}", f"{field}.role")
        if said.get("content") is None:
            wanted = "tool calls cannot be learned yet; the text is needed" if said.get("tool_calls") else "it is missing"
            raise _Wrong(wanted, f"{field}.content")
        messages.append(Message(role, _said(said["content"], f"{field}.content")))
        if _weight(said, role, field) and role == "assistant":
            supervised.append(index)
    if messages[-1].role != "assistant":
        raise _Wrong(f"the last message must be the assistant's answer, not the {messages[-1].role}'s", within)
    if len(messages) == 1:
        raise _Wrong("nothing is asked: a message must stand before the answer", within)
    if not supervised:
        raise _Wrong("every assistant message has weight 0, so there is nothing to learn", within)
    return Example(tuple(messages), line, tuple(supervised))


def _weight(said: dict[str, Any], role: str, field: str) -> int:
    weight = said.get("weight")
    if weight is None:
        return 1
    if role != "assistant" or isinstance(weight, bool) or weight not in (0, 1):
        raise _Wrong(f"must be 0 or 1, and only on the assistant's messages, not {weight!r}", f"{field}.weight")
    return int(weight)


def _said(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"must be text, not {_kind(value)}; put it in quotes", field)
    if not value.strip():
        raise _Wrong("it is empty", field)
    if (control := CONTROL.search(value)) is not None:
        raise _Wrong(
            f"it holds '{control[0]}', which chat models read as structure; take it out or spell it differently", field
        )
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _Wrong("it holds half a surrogate pair, which is no character; write the whole character", field)
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
