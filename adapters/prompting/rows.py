"""Rows of data to shots: by a prompt file's own templates, or in any form that data files have.

Every row that makes no shot is named. Knows no file and no pool.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adapters.data.forms import read_row
from adapters.data.messages import Wrong
from adapters.errors import DataError, DataErrors, InvalidInput
from adapters.prompting.file import Examples
from adapters.prompting.inputs import is_plain
from adapters.prompts import Shot

MOST_FINDINGS = 20
Row = dict[str, Any]


def shots_of(examples: Examples, rows: Iterable[tuple[int, Row]], shown: str) -> list[Shot]:
    """One shot for each row, in order. `rows` come with the line or number that errors name, `shown` is where they lie.

    Raises DataErrors that lists the first 20 rows which make none, and counts all.
    """
    shots, findings, total = [], [], 0
    for number, row in rows:
        try:
            shots.append(_shot(examples, row, number))
        except (Wrong, InvalidInput) as wrong:
            total += 1
            if total <= MOST_FINDINGS:
                field = wrong.field if isinstance(wrong, Wrong) else None
                findings.append(DataError(wrong.message, path=shown, line=number, field=field))
    if findings:
        raise findings[0] if total == 1 else DataErrors(findings, path=shown, total=total)
    if not shots:
        raise DataError("there are no rows to make examples of", path=shown)
    return shots


def _shot(examples: Examples, row: Row, number: int) -> Shot:
    if examples.user is not None and examples.assistant is not None:
        if not is_plain(row):
            raise InvalidInput("the row holds what is not JSON, such as a date; write it as text")
        return Shot(examples.user.render(row), examples.assistant.render(row))
    if row.keys() == {"user", "assistant"}:
        row = {"prompt": row["user"], "completion": row["assistant"]}
    _, example = read_row(row, number, None)
    if example.is_document or len([message for message in example.messages if message.role == "assistant"]) != 1:
        raise Wrong("one question with one answer makes an example; this row has another form")
    return Shot(example.question, example.answer)
