"""What a bake-off was asked to do, and the folder that is made for it.

    <folder>/bakeoff.json    this file's Request
    <folder>/rows.jsonl      what arms are made from, in a seeded order: a rung is the first so many
    <folder>/frozen.jsonl    what every arm is asked
    <folder>/prepared.json   arms and plan, once they are decided (`preparing.py`)
    <folder>/before.json     arms that another bake-off has played from these rows
    <folder>/cells/          what was played (`cells.py`); metrics.jsonl its course; result.json or failure.json its end

Knows no queue and no model.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.conversation import Example
from adapters.data.dataset import Dataset, open_dataset
from adapters.errors import Conflict, InvalidInput, NotFound
from adapters.registry import write_whole
from adapters.tuning.request import Source

REQUEST, ROWS, FROZEN, RESULT = "bakeoff.json", "rows.jsonl", "frozen.jsonl", "result.json"


@dataclass(frozen=True, slots=True)
class Request:
    name: str
    """That the winner shall have."""
    base: str
    """By the name it is served under."""
    base_folder: Path
    methods: tuple[str, ...] = ()
    """Candidates of the advisor; none: those that an advice puts first."""
    budget_s: float | None = None
    profile: str = "quality"
    store: str = ""
    """Id of the vector store that is searched; empty where none is."""
    is_own_store: bool = False
    """It was made for this bake-off, which may have it cut as an arm has found best."""
    documents: tuple[Source, ...] = ()
    """What it holds."""
    evidence: tuple[dict[str, Any], ...] = field(default=())
    """What an advice has measured before; none: the rows are counted."""


def create(folder: Path, request: Request, rows: Sequence[Example], frozen: Sequence[Example]) -> None:
    """Makes the folder, whole or not at all. Raises Conflict where it cannot be made."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    incoming = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        write_rows(incoming / ROWS, rows)
        write_rows(incoming / FROZEN, frozen)
        (incoming / REQUEST).write_text(json.dumps(_to_json(request), indent=1))
        os.rename(incoming, folder)
    except OSError as error:
        raise Conflict(f"{folder} could not be made ({error.strerror})", param="bakeoff") from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def read_request(folder: Path) -> Request:
    try:
        raw = json.loads((folder / REQUEST).read_bytes())
        documents = tuple(Source(one["id"], one["filename"], Path(one["path"])) for one in raw["documents"])
        listed = {"methods": tuple(raw["methods"]), "evidence": tuple(raw["evidence"]), "documents": documents}
        return Request(**raw | listed | {"base_folder": Path(raw["base_folder"])})
    except FileNotFoundError:
        raise NotFound(f"{folder} is no bake-off: it has no {REQUEST}", param="bakeoff") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InvalidInput(f"{folder / REQUEST} is damaged ({error}); start the bake-off again", param="bakeoff") from error


def rows_of(folder: Path) -> Dataset:
    return open_dataset(folder / ROWS, shown_as=ROWS)


def frozen_of(folder: Path) -> Dataset:
    return open_dataset(folder / FROZEN, shown_as=FROZEN)


def write_rows(file: Path, examples: Sequence[Example]) -> None:
    """As conversations, one a line: read again, they are the same rows."""
    write_whole(file, "".join(json.dumps(_row(example), ensure_ascii=False) + "\n" for example in examples))


def _row(example: Example) -> dict[str, Any]:
    messages = []
    for number, message in enumerate(example.messages):
        unlearned = message.role == "assistant" and number not in example.supervised
        messages.append(message.wire() | ({"weight": 0} if unlearned else {}))
    return {"messages": messages} | ({"tools": list(example.tools)} if example.tools else {})


def _to_json(request: Request) -> dict[str, Any]:
    said = dataclasses.asdict(request) | {"base_folder": str(request.base_folder.resolve())}
    documents = [{"id": one.id, "filename": one.filename, "path": str(one.path)} for one in request.documents]
    return said | {"documents": documents}
