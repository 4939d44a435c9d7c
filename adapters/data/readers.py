"""From a data file to examples: JSONL, CSV, TSV, Parquet or plain text, in any of the forms of `forms.py`.

Everything wrong with a file is found in one pass and said with line and field, so that it can be mended in one go.
Knows no tokenizer; that a row is too long for a base is found in `tokens.py`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from adapters.conversation import Example
from adapters.data.forms import FORMS, Row, read_row
from adapters.data.messages import Wrong, kind
from adapters.errors import DataError, DataErrors

MOST_FINDINGS = 100
SHORTEST_DOCUMENT = 1024
"""Characters that a document cut out of a text file has at least, the last one aside."""

ENDINGS = {
    "csv": "csv", "tsv": "tsv", "parquet": "parquet", "txt": "txt", "md": "txt",
    "jsonl": "jsonl", "json": "jsonl", "ndjson": "jsonl",
}  # fmt: skip

Rows = Iterable[tuple[int, Row | Wrong]]


def read(
    path: Path, *, prompt_column: str | None = None, completion_column: str | None = None, shown_as: str | None = None
) -> list[Example]:
    """The file's examples in file order; see `read_formed`."""
    columns = {"prompt_column": prompt_column, "completion_column": completion_column}
    return read_formed(path, shown_as=shown_as, **columns)[1]


def read_formed(
    path: Path, *, prompt_column: str | None = None, completion_column: str | None = None, shown_as: str | None = None
) -> tuple[str, list[Example]]:
    """The form of the file's first good row, and all examples; empty lines are passed over, a byte-order mark is allowed.

    The column names apply to every format. `shown_as` is the file's name in errors (an upload's own name). Raises
    DataError for one finding, DataErrors for several: at most 100 are listed, all are counted.
    """
    shown = shown_as or str(path)
    columns = None
    if prompt_column is not None or completion_column is not None:
        columns = (prompt_column or "prompt", completion_column or "completion")
    form, examples, findings, total = "", [], [], 0
    for line, row in _rows(path, shown):
        try:
            if isinstance(row, Wrong):
                raise row
            found, example = read_row(row, line, columns)
            form = form or found
            if FORMS[found].teaches != FORMS[form].teaches:
                raise Wrong(f"this row teaches {FORMS[found].teaches}, and the file's first {FORMS[form].teaches}; split them")
            examples.append(example)
        except Wrong as wrong:
            total += 1
            if total <= MOST_FINDINGS:
                findings.append(DataError(wrong.message, path=shown, line=line, field=wrong.field))
    if total == 1:
        raise findings[0]
    if findings:
        raise DataErrors(findings, path=shown, total=total)
    if not examples:
        raise DataError("the file holds no rows; it needs one example a line", path=shown)
    return form, examples


def rows(path: Path, *, shown_as: str | None = None) -> Iterator[tuple[int, Row]]:
    """The file's rows as they stand, with their lines, for whoever makes something else of them. Raises DataError."""
    shown = shown_as or str(path)
    for line, row in _rows(path, shown):
        if isinstance(row, Wrong):
            raise DataError(row.message, path=shown, line=line, field=row.field)
        yield line, row


def data_format(path: Path, shown_as: str | None = None) -> str:
    """`csv`, `tsv`, `parquet`, `txt` or `jsonl`: by the name's ending where it is telling, else by the first character."""
    ending = Path(shown_as or path).suffix.lower().removeprefix(".")
    if ending in ENDINGS or not path.is_file():
        return ENDINGS.get(ending, "jsonl")
    with path.open("rb") as file:
        start = file.read(4096)
    if start[:4] == b"PAR1":
        return "parquet"
    return "jsonl" if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[", b"") else "csv"


def _rows(path: Path, shown: str) -> Rows:
    form = data_format(path, shown)
    if form == "parquet":
        return _parquet_rows(path, shown)
    text = _text(path, shown)
    if form == "jsonl":
        return _json_rows(text)
    return _documents(text) if form == "txt" else _csv_rows(text, shown, delimiter="\t" if form == "tsv" else ",")


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


def _json_rows(text: str) -> Iterator[tuple[int, Row | Wrong]]:
    # not splitlines(): JSON strings may hold U+2028 and its kin, which that takes for line ends
    for line, written in enumerate(text.split("\n"), start=1):
        if not written.strip():
            continue
        try:
            row = json.loads(written)
        except (json.JSONDecodeError, RecursionError) as error:
            where = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            yield line, Wrong(f"this is not JSON{where} ({reason}); write one JSON object a line")
            continue
        yield line, row if isinstance(row, dict) else Wrong(f"must be a JSON object, not {kind(row)}; one object a line")


def _csv_rows(text: str, shown: str, delimiter: str) -> Iterator[tuple[int, Row | Wrong]]:
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
                yield line, Wrong(f"{len(cells)} cells where the header has {len(header)}; quote cells that hold commas")
            else:
                yield line, dict(zip(header, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        yield line, Wrong(f"this is not CSV ({error})")


def _parquet_rows(path: Path, shown: str) -> Iterator[tuple[int, Row | Wrong]]:
    """Rows count from 1. Columns without a value in a row are left out of it."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            line = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    line += 1
                    yield line, {str(column): value for column, value in row.items() if value is not None}
    except FileNotFoundError:
        raise DataError("there is no such file", path=shown) from None
    except (ArrowException, OSError) as error:
        raise DataError(f"this is not a Parquet file that can be read ({str(error).splitlines()[0]})", path=shown) from error


def _documents(text: str) -> Iterator[tuple[int, Row | Wrong]]:
    """The paragraphs of a text, as many together as make a document of some length; each with its first line's number."""
    paragraphs: list[str] = []
    started = line = 1
    for paragraph in text.split("\n\n"):
        if paragraph.strip():
            if not paragraphs:
                started = line + len(paragraph) - len(paragraph.lstrip("\n"))
            paragraphs.append(paragraph.strip("\n"))
        line += paragraph.count("\n") + 2
        if sum(map(len, paragraphs)) >= SHORTEST_DOCUMENT:
            yield started, {"text": "\n\n".join(paragraphs)}
            paragraphs = []
    if paragraphs:
        yield started, {"text": "\n\n".join(paragraphs)}
