"""Vector stores for adapted models that are being made: documents put into one, taken from one, and cut as was found best.

Works on rows and files; a gateway, if one runs, hears of it by itself. Knows no HTTP and no job.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.errors import Conflict, GraftError, InvalidInput, NotFound
from adapters.methods.retrieving.cuts import encoded_by, prepared_folder
from adapters.registry import file_digest
from adapters.retrieval.chunks import Chunking
from adapters.retrieval.prepared import open_prepared
from adapters.tuning.request import Source, in_folder
from gateway.db.database import open_database
from gateway.db.ingest import IngestRows
from gateway.db.stores import StoreRows
from gateway.files import FileStore
from gateway.settings import Settings
from gateway.stores.library import MOST_FILES, TENANT
from gateway.stores.measures import automatic
from gateway.stores.places import Places
from gateway.stores.records import Included, NewFile
from gateway.stores.searching import expired
from gateway.stores.tidying import alone, remove_store

INCOMING = ".incoming-"


@dataclass(frozen=True, slots=True)
class Filled:
    store: str
    """Its id."""
    sources: Sequence[Source]
    """What it holds, or will."""
    is_new: bool = False


@contextmanager
def searched(settings: Settings, name: str, *, docs: Path | None, store: str | None) -> Iterator[Filled | None]:
    """The documents of a model that is to be made: a new store of its name, or one that there is. A new one is taken away
    again where what is done with it raises a GraftError."""
    if docs is not None and store is not None:
        raise InvalidInput("say either docs, which become a store, or a store that there is", param="docs")
    if docs is None:
        yield held(settings, store) if store is not None else None
        return
    filled = filled_from(settings, name, docs)
    try:
        yield filled
    except GraftError:
        empty(settings, filled)
        raise


def filled_from(settings: Settings, name: str, docs: Path) -> Filled:
    """A new store of this name with the documents. Raises Conflict where there is one, InvalidInput where there are none."""
    sources, rows, files = in_folder(docs), StoreRows(open_database(settings.database_url)), FileStore(settings.files)
    if _is_there(rows, name):
        raise Conflict(
            f"there is a vector store '{name}' already; search what it holds with --store {name}, or remove it: "
            f"graft stores rm {name}",
            param="docs",
        )
    chunking = automatic(settings.retrieval_encoder)
    kept, new = list[Source](), list[NewFile]()
    for source in sources:
        with source.path.open("rb") as content:
            file = files.add(content, filename=source.filename, purpose="assistants")
        kept.append(Source(file.id, file.filename, files.content(file.id)))
        inside = source.path.relative_to(docs).as_posix() if docs.is_dir() else source.filename
        about = {"path": inside[-512:], "sha256": file_digest(source.path)}  # as `graft stores add` knows what has changed
        new.append(NewFile(file.id, file.filename, file.sha256, None, chunking.max_tokens, chunking.overlap_tokens, about))
    fields = {"name": name, "description": None, "labels": None, "expires_after_days": None}
    return Filled(rows.create(TENANT, new, most_files=MOST_FILES, **fields).id, kept, is_new=True)


def held(settings: Settings, said: str) -> Filled:
    """What a store holds, by name or id. Raises NotFound, or InvalidInput for one that has expired or holds nothing."""
    database, files = open_database(settings.database_url), FileStore(settings.files)
    store = StoreRows(database).get(TENANT, said)
    if store.is_over(time.time()):
        raise expired(store)
    sources = []
    for file in IngestRows(database).held(store.id):
        try:
            sources.append(Source(file.file_id, file.filename, files.content(file.file_id)))
        except NotFound:  # the uploaded file was deleted meanwhile
            continue
    if not sources:
        raise InvalidInput(f"the vector store '{said}' holds no document that can be read", param="store")
    return Filled(store.id, sources)


def empty(settings: Settings, filled: Filled) -> None:
    """Takes a store away, with the files that were uploaded for it."""
    rows, files = StoreRows(open_database(settings.database_url)), FileStore(settings.files)
    rows.remove(rows.get(TENANT, filled.store))
    remove_store(Places(settings.stores), filled.store)
    for source in filled.sources:
        files.remove(source.id)


def recut(settings: Settings, store_id: str, run: Path, chunking: Mapping[str, int]) -> None:
    """Has the store's files cut as a run has found best; what the run has encoded is taken over. Again, it changes nothing.

    A store that is gone by now is left alone.
    """
    wanted, rows = Chunking(**chunking), IngestRows(open_database(settings.database_url))
    places, encoder, ready = Places(settings.stores), encoded_by(run, wanted), list[Included]()
    with alone(places, store_id) as is_mine:
        for file in rows.held(store_id) if is_mine else ():  # else ingest is at work there, and encodes it itself
            made = prepared_folder(run, file.file_id, wanted)
            as_wanted = dataclasses.replace(file, max_tokens=wanted.max_tokens, overlap_tokens=wanted.overlap_tokens)
            if made.is_dir():
                _take_over(made, places.prepared(as_wanted, encoder))
                card = open_prepared(made)
                ready.append(Included(file.number, file.file_id, card.bytes, card.passages))
        rows.recut(store_id, wanted.max_tokens, wanted.overlap_tokens, ready)


def _take_over(made: Path, place: Path) -> None:
    if place.is_dir():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    incoming = Path(tempfile.mkdtemp(prefix=INCOMING, dir=place.parent))
    try:
        shutil.copytree(made, incoming / place.name, copy_function=_linked)
        os.rename(incoming / place.name, place)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _linked(source: str, target: str) -> None:
    """Prepared files never change, so two folders can have the same ones."""
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copyfile(source, target)


def _is_there(rows: StoreRows, name: str) -> bool:
    try:
        rows.get(TENANT, name)
    except NotFound:
        return False
    return True
