"""`graft stores …`: vector stores of the running gateway, asked through the OpenAI API as any caller does.

A store is named by its id or its name. `search` is the debugger: it shows by which ranking each passage was found.
"""

from __future__ import annotations

import json as json_format
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from adapters.errors import Conflict, GraftError, InvalidInput, NotFound
from gateway import settings
from gateway.cli.chat import not_running, open_client, refusal
from gateway.cli.models import Json, Quiet, confirmed
from gateway.cli.terminal import ago, err, out, print_json, print_table

LOOK_S = 0.3
UPLOADS = 5
"""Files sent at once."""
MOST_IN_BATCH = 2_000
SHOWN = 70
"""Characters of a passage in the table."""


@contextmanager
def _asking() -> Iterator[Any]:
    """The client; what the gateway refuses is an error of ours."""
    import openai

    try:
        yield open_client()
    except openai.APIConnectionError as error:
        raise not_running(settings.load()) from error
    except openai.APIStatusError as error:
        raise GraftError(refusal(error)) from error


def ls(*, json: Json = False, quiet: Quiet = False) -> None:
    """Every vector store, the newest first."""
    with _asking() as client:
        stores = list(client.vector_stores.list(limit=100))
    if json:
        print_json([store.to_dict() for store in stores])
    elif quiet:
        for store in stores:
            out.print(store.name or store.id, markup=False)
    else:
        rows = ((store.name or "–", store.id, store.status, _files(store), f"{store.graft['passages']:,}", _size(store),
                 ago(time.time() - store.last_active_at)) for store in stores)  # fmt: skip
        print_table(("NAME", "ID", "STATUS", "FILES", "PASSAGES", "SIZE", "LAST USED"), rows)


def create(name: str, *, docs: Path | None = None, expires_after_days: int | None = None, json: Json = False) -> None:
    """Make a vector store.

    Parameters
    ----------
    docs
        A folder whose documents are put into it, as `graft stores add` does.
    expires_after_days
        Days after its last use at which it goes. Default: never.
    """
    with _asking() as client:
        if _there(client, name):
            raise Conflict(f"there is a vector store '{name}' already; `graft stores add {name} PATHS` puts files into it")
        sources = _sources([docs]) if docs is not None else {}  # before there is a store: the folder may not be one
        policy = {"anchor": "last_active_at", "days": expires_after_days} if expires_after_days else None
        store = client.vector_stores.create(name=name, **({"expires_after": policy} if policy else {}))
        _fill(client, store, sources, json=json)


def add(name: str, *paths: Path, json: Json = False) -> None:
    """Put files into a store, and all documents of folders. What has not changed since is skipped, what has is replaced.

    Parameters
    ----------
    paths
        Files of any kind; of folders, files of the kinds that can be read, hidden ones left out.
    """
    if not paths:
        raise InvalidInput(f"say which files, as in `graft stores add {name} docs/`", param="paths")
    sources = _sources(list(paths))
    with _asking() as client:
        _fill(client, client.vector_stores.retrieve(name), sources, json=json)


def show(name: str, *, json: Json = False) -> None:
    """One store, and which of its files could not be read."""
    with _asking() as client:
        _tell(client, name, json=json)


def search(
    name: str, question: str, *, limit: int = 10, lexical_weight: float | None = None, min_score: float = 0.0,
    where: Annotated[list[str] | None, Parameter(name="--where", negative="")] = None, json: Json = False,
) -> None:  # fmt: skip
    """What a store finds for a question, and how: each passage's place by meaning, by words, by both, and reranked.

    Parameters
    ----------
    lexical_weight
        From 0, by meaning only, to 1, by words only.
    min_score
        Leave out passages that score below this, from 0 to 1.
    where
        KEY=VALUE: only files with this attribute. Several must all hold.
    """
    ranking: dict[str, Any] = {"score_threshold": min_score}
    if lexical_weight is not None:
        ranking["hybrid_search"] = {"embedding_weight": 1 - lexical_weight, "text_weight": lexical_weight}
    asked: dict[str, Any] = {"query": question, "max_num_results": limit, "ranking_options": ranking}
    if where:
        asked["filters"] = {"type": "and", "filters": [_condition(said) for said in where]}
    with _asking() as client:
        page = client.vector_stores.search(name, **asked)
    if json:
        print_json(page.to_dict())
        return
    places = ("dense", "lexical", "fused", "reranked")
    rows = [
        (*("–" if hit.graft["ranks"].get(place) is None else str(hit.graft["ranks"][place]) for place in places),
         f"{hit.score:.2f}", f"{hit.filename} {hit.graft['start']}-{hit.graft['end']}", _beginning(hit))
        for hit in page.data
    ]  # fmt: skip
    print_table(("DENSE", "LEXICAL", "FUSED", "RERANKED", "SCORE", "SOURCE, CHARACTERS", "PASSAGE"), rows)
    if not rows:
        err.print("nothing was found")


def rm(
    name: str, *, with_files: Annotated[bool, Parameter(negative="")] = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask.")] = False,
) -> None:  # fmt: skip
    """Remove a store.

    Parameters
    ----------
    with_files
        Delete the uploaded files too, from every store that has them.
    """
    with _asking() as client:
        store = client.vector_stores.retrieve(name)
        if not yes and not confirmed(f"remove {store.name or store.id} with {_files(store)} files for good?"):
            return
        files = [file.id for file in client.vector_stores.files.list(store.id, limit=100)] if with_files else []
        client.vector_stores.delete(store.id)
        for file_id in files:
            client.files.delete(file_id)
    err.print(f"removed {store.name or store.id}")


def _there(client: Any, name: str) -> bool:
    import openai

    try:
        client.vector_stores.retrieve(name)
    except openai.NotFoundError:
        return False
    return True


def _sources(paths: list[Path]) -> dict[str, Path]:
    """Documents by what they are called in the store: their path below the folder that was named."""
    from adapters.retrieval.parsing.table import PARSERS

    found: dict[str, Path] = {}
    for path in paths:
        if path.is_file():
            found[path.name] = path
        elif path.is_dir():
            for file in sorted(path.rglob("*")):
                inside = file.relative_to(path)
                if file.is_file() and file.suffix.lower() in PARSERS and not any(part.startswith(".") for part in inside.parts):
                    found[inside.as_posix()] = file
        else:
            raise NotFound(f"there is no file or folder '{path}'", param="paths")
    if not found:
        raise InvalidInput("there is no document in " + ", ".join(map(str, paths)), param="paths")
    return found


def _fill(client: Any, store: Any, sources: dict[str, Path], *, json: bool) -> None:
    """Puts the documents in and shows the store. Raises GraftError where none of those that were to come could be read."""
    put_in, failed = _put_in(client, store, sources, quiet=json) if sources else (0, 0)
    _tell(client, store.id, json=json)
    if failed and not put_in:
        raise GraftError(f"nothing was put into {store.name or store.id}: of {failed:,} files none could be read")


def _put_in(client: Any, store: Any, sources: dict[str, Path], *, quiet: bool) -> tuple[int, int]:
    """How many files are in that were not, and how many of those that should be are not."""
    import openai

    there = {(file.attributes or {}).get("path"): file for file in client.vector_stores.files.list(store.id, limit=100)}
    digests = {name: _digest(path) for name, path in sources.items()}
    changed = [name for name in sources if name not in there or there[name].status in ("failed", "cancelled")
               or (there[name].attributes or {}).get("sha256") != digests[name]]  # fmt: skip
    refused, put_in = dict[str, str](), 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as progress:
        bar = progress.add_task("uploading", total=len(changed))

        def upload(name: str) -> dict[str, Any] | None:
            try:
                with sources[name].open("rb") as content:
                    file = client.files.create(file=(sources[name].name, content), purpose="assistants")
            except openai.APIStatusError as error:  # empty, or larger than the gateway takes: the others go on
                refused[name] = refusal(error)
                return None
            progress.advance(bar)
            return {"file_id": file.id, "attributes": {"path": name[-512:], "sha256": digests[name]}}

        with ThreadPoolExecutor(UPLOADS) as uploading:
            files = [file for file in uploading.map(upload, changed) if file is not None]
        progress.reset(bar, description="reading and encoding", total=len(files))
        for start in range(0, len(files), MOST_IN_BATCH):
            batch = client.vector_stores.file_batches.create(store.id, files=files[start : start + MOST_IN_BATCH])
            while (counts := batch.file_counts).in_progress:
                progress.update(bar, completed=start + counts.total - counts.in_progress)
                time.sleep(LOOK_S)  # the API has nothing to wait on
                batch = client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id)
            put_in += counts.completed
    for name in changed:
        if name in there and name not in refused:
            client.files.delete(there[name].id)
    for name, why in refused.items():
        err.print(f"{name} could not be put in: {why}", markup=False, soft_wrap=True)
    failed = len(changed) - put_in
    if not quiet:
        err.print(f"{put_in} files put in, {failed} failed, {len(sources) - len(changed)} unchanged")
    return put_in, failed


def _tell(client: Any, name: str, *, json: bool) -> None:
    store = client.vector_stores.retrieve(name)
    failed = list(client.vector_stores.files.list(store.id, filter="failed", limit=100).data)
    if json:
        print_json(store.to_dict() | {"failed": [file.to_dict() for file in failed]})
        return
    rows = [("name", store.name or "–"), ("id", store.id), ("status", store.status), ("files", _files(store)),
            ("passages", f"{store.graft['passages']:,}"), ("size", _size(store)),
            ("last used", ago(time.time() - store.last_active_at))]  # fmt: skip
    if store.expires_after is not None:
        rows.append(("expires", f"{store.expires_after.days} days after its last use"))
    rows += [(f"{key} (metadata)", value) for key, value in (store.metadata or {}).items()]
    print_table(("", ""), rows)
    if failed:
        reasons = (((file.attributes or {}).get("path") or file.graft["filename"],
                    file.last_error.message if file.last_error else "–") for file in failed)  # fmt: skip
        print_table(("COULD NOT BE READ", "WHY"), reasons)


def _condition(said: str) -> dict[str, Any]:
    key, is_there, value = said.partition("=")
    if not is_there:
        raise InvalidInput(f"'{said}' is no condition; write KEY=VALUE", param="where")
    try:
        typed = json_format.loads(value)
    except ValueError:
        typed = value
    return {"type": "eq", "key": key, "value": typed if isinstance(typed, (str, int, float)) else value}


def _beginning(hit: Any) -> str:
    text = " ".join(hit.content[0].text.split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _files(store: Any) -> str:
    counts = store.file_counts
    rest = ((counts.in_progress, "in progress"), (counts.failed, "failed"), (counts.cancelled, "cancelled"))
    notes = ", ".join(f"{number:,} {what}" for number, what in rest if number)
    return f"{counts.total:,}" + (f" ({notes})" if notes else "")


def _size(store: Any) -> str:
    return f"{store.usage_bytes / 2**20:.1f} MiB"


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()
