"""What a run was asked to do, and the folder that is made for it: everything needed to do it, on any machine.

    <folder>/request.json    this file's RunRequest
    <folder>/data.jsonl      the data file as it was (its ending says the format)
    <folder>/validation.*, held_out.*, replay.*   those that were brought beside it
    <folder>/documents/<id>/<filename>   of methods that search: what the store holds

What the run leaves beside them is `run.py`'s. Knows no torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters import prompts
from adapters.adapted_model import checked_name
from adapters.data.readers import data_format
from adapters.errors import Conflict, InvalidInput, NotFound
from adapters.methods.table import method
from adapters.prompts import PromptTemplate
from adapters.registry import file_digest
from adapters.tuning import recipe as recipes
from adapters.tuning.recipe import Recipe

REQUEST, DOCUMENTS = "request.json", "documents"


@dataclass(frozen=True, slots=True)
class RunRequest:
    name: str
    """Of the adapted model to make."""
    base: str
    """The name the base is served under."""
    base_folder: Path
    registry: Path
    recipe: Recipe
    template: PromptTemplate | None = None
    prompt_column: str | None = None
    completion_column: str | None = None
    max_rank: int = 64
    """The highest rank the engine serves."""
    run_id: str = ""
    """Empty: the folder's name."""
    data_name: str = ""
    """What the data file was called, for error messages."""
    data_digest: str = ""
    """sha256 of the data file's bytes; filled in by `create`."""
    validation_name: str = ""
    """What the validation file was called; empty where none was brought."""
    encoder: Path | None = None
    """Folder of the sentence encoder that will serve; None: the embedded one."""
    store: str = ""
    """Id of the vector store that the adapted model will search; it holds the run's documents, or will."""
    documents: int = 0
    """How many the run searches; filled in by `create`."""


@dataclass(frozen=True, slots=True)
class Source:
    """A document as a store has it."""

    id: str
    filename: str
    path: Path


def create(
    folder: Path, request: RunRequest, data: Path, validation: Path | None = None, replay: Path | None = None,
    documents: Sequence[Source] = (), held_out: Path | None = None,
) -> RunRequest:  # fmt: skip
    """Makes the run folder, whole or not at all, and returns the request as written.

    `validation` and `held_out` take the place of the shares of the data that are split off; `replay` holds rows to learn beside
    the data's, in place of the base's own answers; `documents` are searched with every question.

    Raises InvalidInput for a bad name, recipe or base folder, Conflict where the folder is there already.
    """
    checked_name(request.name)
    request = dataclasses.replace(request, documents=len(documents))
    _check(request)
    if not data.is_file():
        raise InvalidInput(f"there is no data file {data}", param="training_file")
    if folder.exists():
        raise Conflict(f"{folder} is there already; a run needs a folder of its own", param="run")
    written = dataclasses.replace(
        request,
        base_folder=request.base_folder.resolve(),
        registry=request.registry.resolve(),
        run_id=request.run_id or folder.name,
        data_name=request.data_name or data.name,
        data_digest=file_digest(data),
        validation_name=request.validation_name or (validation.name if validation else ""),
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    incoming = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        shutil.copyfile(data, incoming / f"data.{data_format(data, written.data_name)}")
        if validation is not None:
            shutil.copyfile(validation, incoming / f"validation.{data_format(validation, written.validation_name)}")
        for name, file in (("replay", replay), ("held_out", held_out)):
            if file is not None:
                shutil.copyfile(file, incoming / f"{name}.{data_format(file)}")
        for document in documents:
            place = incoming / DOCUMENTS / document.id / document.filename
            place.parent.mkdir(parents=True)
            shutil.copyfile(document.path, place)
        (incoming / REQUEST).write_text(json.dumps(to_json(written), indent=1))
        os.rename(incoming, folder)
    except OSError as error:
        raise Conflict(f"{folder} could not be made ({error.strerror})", param="run") from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return written


def read_request(folder: Path) -> RunRequest:
    try:
        raw = json.loads((folder / REQUEST).read_bytes())
    except FileNotFoundError:
        raise NotFound(f"{folder} is no run: it has no {REQUEST}", param="run") from None
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{folder / REQUEST} is damaged ({error}); create the run again", param="run") from error
    return from_json(raw)


def data_file(folder: Path, request: RunRequest) -> Path:
    """The run's copy of the data. Raises Conflict when it is no longer the file the run was created with."""
    found = next(iter(sorted(folder.glob("data.*"))), None)
    if found is None or file_digest(found) != request.data_digest:
        raise Conflict(f"the data in {folder} is not what the run was created with; create a new run", param="run")
    return found


def validation_file(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("validation.*"))), None)


def held_out_file(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("held_out.*"))), None)


def replay_file(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("replay.*"))), None)


def in_folder(folder: Path) -> list[Source]:
    """The documents under a folder, or the one, with ids that follow from where they lie; hidden ones are left out, and kinds
    that cannot be read. Raises InvalidInput where there is none.
    """
    from adapters.retrieval.parsing.table import PARSERS  # not at start-up: it brings the parsers' libraries along

    paths = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    known = [path for path in paths if path.is_file() and (path == folder or path.suffix.lower() in PARSERS)]
    places = {path: path.relative_to(folder if folder.is_dir() else folder.parent) for path in known}
    shown = {path: place for path, place in places.items() if not any(part.startswith(".") for part in place.parts)}
    if not shown:
        raise InvalidInput(f"'{folder}' is neither a document nor a folder that holds some", param="docs")
    return [
        Source(f"file-{hashlib.sha256(place.as_posix().encode()).hexdigest()[:24]}", path.name, path)
        for path, place in shown.items()
    ]


def to_json(request: RunRequest) -> dict[str, Any]:
    said = dataclasses.asdict(request)
    encoder = str(request.encoder) if request.encoder is not None else None
    return said | {"base_folder": str(request.base_folder), "registry": str(request.registry), "encoder": encoder}


def from_json(raw: dict[str, Any]) -> RunRequest:
    try:
        template = raw.get("template")
        request = RunRequest(
            **raw
            | {
                "base_folder": Path(raw["base_folder"]),
                "registry": Path(raw["registry"]),
                "recipe": recipes.from_json(raw["recipe"]),
                "template": prompts.from_json(template) if template else None,
                "encoder": Path(raw["encoder"]) if raw.get("encoder") else None,
            }
        )
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"not a run this version of Graft can read: {error}", param="run") from error
    _check(request)
    return request


def _check(request: RunRequest) -> None:
    adapts = method(request.recipe.method)
    if not (request.base_folder / "config.json").is_file():
        raise InvalidInput(f"{request.base_folder} is no base: it has no config.json", param="base")
    if request.recipe.objective not in adapts.objectives:
        raise InvalidInput(
            f"{request.recipe.method} learns by {' or '.join(adapts.objectives)}, not by {request.recipe.objective}",
            param="objective",
        )
    _check_documents(request)
    rank = adapts.weights.served_rank(request.recipe) if adapts.weights is not None else 0
    if rank > request.max_rank:
        raise InvalidInput(
            f"its adapter would have rank {rank}, above the {request.max_rank} the engine serves; "
            "lower rank, or raise max_lora_rank",
            param="rank",
        )


def _check_documents(request: RunRequest) -> None:
    name, adapts = request.recipe.method, method(request.recipe.method)
    given = bool(request.store or request.documents)
    if given and not adapts.retrieves and adapts.weights is not None:
        # on four of five sets, such as Hugging Face calls (61.1 to 42.6) and TensorFlow's (86.6 to 60.3): table 1 of RAFT
        raise InvalidInput(
            f"{name} trains without passages in its prompts, and such a model mostly answers worse when it is then shown some "
            "(43 % right in place of 61 on a set of RAFT's, arXiv 2403.10131); take rag+lora, which trains with them, or rag",
            param="store" if request.store else "docs",
        )
    if given and not adapts.retrieves:
        raise InvalidInput(f"{name} searches no documents; take rag", param="store" if request.store else "docs")
    if adapts.retrieves and not request.documents:
        raise InvalidInput(f"{name} needs documents to search: a folder of them, or a store that holds some", param="docs")
    if adapts.retrieves and not request.store:
        raise InvalidInput(f"{name} needs the id of the store that the adapted model will search", param="store")
