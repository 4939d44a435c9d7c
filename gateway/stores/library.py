"""The vector stores service: what each of its routes does, in terms of uploaded files, rows and searches.

One instance a gateway; everything that blocks does so in a thread. What it accepts is a row when it returns; `ingest.py`
makes it searchable. Knows no HTTP and no index.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET

from adapters.errors import InvalidInput, NotFound
from adapters.retrieval.chunks import Chunking
from adapters.retrieval.prepared import TEXT
from gateway.db.stores import StoreRows
from gateway.files import RESULTS, FileStore
from gateway.stores.places import Places
from gateway.stores.records import Batch, Counts, Cut, NewFile, Store, StoreFile
from gateway.stores.searching import Hit, Searching, expired
from gateway.stores.tidying import remove_store
from gateway.wire import vector_stores as wire

TENANT = "default"
"""Whose every store is, as long as there is one key for all."""
MOST_FILES = 10_000
"""In one store, as the hosted service has it."""
MOST_IN_BATCH = 2_000
"""In one request."""


class Stores:
    def __init__(
        self, rows: StoreRows, files: FileStore, places: Places, searching: Searching, *, auto: Chunking, has_reranker: bool,
        on_change: Callable[[], None],
    ) -> None:  # fmt: skip
        """`auto`: how files are cut where the caller leaves it open. `on_change`: files came, or went."""
        self._rows, self._files, self._places, self._searching = rows, files, places, searching
        self._auto, self._on_change = auto, on_change
        self.has_reranker = has_reranker

    async def search(
        self, store_id: str, queries: Sequence[str], *, limit: int = 10, filters: Any = None,
        lexical_weight: float | None = None, min_score: float = 0.0, rerank: bool = False, tenant: str = TENANT,
    ) -> list[list[Hit]]:  # fmt: skip
        """For each question its passages, best first. `store_id` may be the store's name.

        Raises NotFound for an unknown store, InvalidInput for an expired one or a wrong filter, Unavailable.
        """
        return await self._searching.search(
            tenant, store_id, queries, limit=limit, filters=filters, lexical_weight=lexical_weight, min_score=min_score,
            rerank=rerank,
        )  # fmt: skip

    async def find(self, said: str, *, tenant: str = TENANT) -> Store:
        """By id, or by name where one store has it. Raises NotFound; InvalidInput where several have the name."""
        return await asyncio.to_thread(self._rows.get, tenant, said)

    # stores

    async def create(self, asked: wire.CreateStore) -> tuple[Store, Counts]:
        def make() -> tuple[Store, Counts]:
            files = self._new_files(
                [wire.AddFile(file_id=one, chunking_strategy=asked.chunking_strategy) for one in asked.file_ids or []]
            )
            store = self._rows.create(
                TENANT, files, most_files=MOST_FILES, name=asked.name or "", description=asked.description,
                labels=asked.metadata or None, expires_after_days=asked.expires_after and asked.expires_after.days,
            )  # fmt: skip
            self._undo_deleted(asked.file_ids or [])
            return store, self._rows.counts([store.id])[store.id]

        made = await asyncio.to_thread(make)
        self._on_change()
        return made

    async def get(self, said: str) -> tuple[Store, Counts]:
        def found() -> tuple[Store, Counts]:
            store = self._rows.get(TENANT, said)
            return store, self._rows.counts([store.id])[store.id]

        return await asyncio.to_thread(found)

    async def page(self, cut: Cut) -> tuple[list[tuple[Store, Counts]], bool]:
        def found() -> tuple[list[tuple[Store, Counts]], bool]:
            stores, more = self._rows.page(TENANT, cut)
            counts = self._rows.counts([store.id for store in stores])
            return [(store, counts[store.id]) for store in stores], more

        return await asyncio.to_thread(found)

    async def modify(self, said: str, asked: wire.ModifyStore) -> tuple[Store, Counts]:
        def change() -> None:
            values: dict[str, Any] = {}
            if asked.name is not UNSET:
                values["name"] = asked.name or ""
            if asked.metadata is not UNSET:
                values["labels"] = asked.metadata or None
            if asked.expires_after is not UNSET:
                values["expires_after_days"] = asked.expires_after and asked.expires_after.days
            if values:
                self._rows.modify(self._live(said), **values)

        await asyncio.to_thread(change)
        return await self.get(said)

    async def remove(self, said: str) -> str:
        """Returns the store's id. Nothing of it is found from here on."""

        def take_away() -> str:
            store = self._rows.get(TENANT, said)
            self._rows.remove(store)
            remove_store(self._places, store.id)
            return store.id

        gone = await asyncio.to_thread(take_away)
        self._on_change()
        return gone

    # files

    async def attach(self, said: str, asked: wire.AddFile) -> StoreFile:
        def put_in() -> StoreFile:
            store = self._live(said)
            self._rows.attach(store, self._new_files([asked]), most_files=MOST_FILES)
            self._undo_deleted([asked.file_id])
            return self._rows.file(store, asked.file_id)

        made = await asyncio.to_thread(put_in)
        self._on_change()
        return made

    async def file(self, said: str, file_id: str) -> StoreFile:
        return await asyncio.to_thread(lambda: self._rows.file(self._rows.get(TENANT, said), file_id))

    async def files(
        self, said: str, cut: Cut, *, status: str | None = None, batch_id: str | None = None
    ) -> tuple[list[StoreFile], bool]:
        def found() -> tuple[list[StoreFile], bool]:
            store = self._rows.get(TENANT, said)
            if batch_id is not None:
                self._rows.batch(store, batch_id)
            return self._rows.files(store, cut, batch_id=batch_id, status=status)

        return await asyncio.to_thread(found)

    async def describe(self, said: str, file_id: str, attributes: dict[str, Any] | None) -> StoreFile:
        def change() -> StoreFile:
            store = self._live(said)
            self._rows.describe(store, file_id, attributes or None)
            return self._rows.file(store, file_id)

        return await asyncio.to_thread(change)

    async def content(self, said: str, file_id: str) -> tuple[StoreFile, str]:
        """The file's text as it was read, which offsets of passages count in. Raises InvalidInput before it is completed."""

        def read() -> tuple[StoreFile, str]:
            store = self._rows.get(TENANT, said)
            file = self._rows.file(store, file_id)
            if file.status != "completed" or store.encoder is None:
                raise InvalidInput(f"'{file_id}' is {file.status} in store '{store.id}', so it has no text", param="file_id")
            return file, (self._places.prepared(file, store.encoder) / TEXT).read_text("utf-8")

        return await asyncio.to_thread(read)

    async def detach(self, said: str, file_id: str) -> None:
        """Takes the file out: once this returns, no search that begins finds it."""
        await asyncio.to_thread(lambda: self._rows.detach(self._rows.get(TENANT, said), file_id))
        self._on_change()

    async def delete_uploaded(self, file_id: str) -> None:
        """Deletes an uploaded file, and takes it out of every store: once this returns, no search that begins finds it."""

        def delete() -> None:
            self._rows.forget(file_id)  # first: a kill after it leaves a file that nobody finds, not passages without a file
            try:
                self._files.remove(file_id)
            finally:
                self._rows.forget(file_id)  # again: somebody may have put it into a store in between

        await asyncio.to_thread(delete)
        self._on_change()

    # batches

    async def attach_batch(self, said: str, asked: wire.AddBatch) -> Batch:
        wanted = _each(asked)

        def put_in() -> Batch:
            store = self._live(said)
            batch = self._rows.attach_batch(store, self._new_files(wanted), most_files=MOST_FILES)
            self._undo_deleted([one.file_id for one in wanted])
            return batch

        made = await asyncio.to_thread(put_in)
        self._on_change()
        return made

    async def batch(self, said: str, batch_id: str) -> Batch:
        return await asyncio.to_thread(lambda: self._rows.batch(self._rows.get(TENANT, said), batch_id))

    async def cancel(self, said: str, batch_id: str) -> Batch:
        def call_off() -> Batch:
            store = self._rows.get(TENANT, said)
            self._rows.batch(store, batch_id)
            self._rows.cancel(store, batch_id)
            return self._rows.batch(store, batch_id)

        return await asyncio.to_thread(call_off)

    # what the routes share

    def _live(self, said: str) -> Store:
        store = self._rows.get(TENANT, said)
        if store.is_over(time.time()):
            raise expired(store)
        return store

    def _new_files(self, asked: Sequence[wire.AddFile]) -> list[NewFile]:
        return [self._new_file(one, "file_id" if len(asked) == 1 else f"file_ids[{n}]") for n, one in enumerate(asked)]

    def _new_file(self, asked: wire.AddFile, param: str) -> NewFile:
        try:
            file = self._files.get(asked.file_id)
        except NotFound as unknown:
            raise NotFound(unknown.message, param=param) from unknown
        if file.purpose == RESULTS:
            raise InvalidInput(f"'{file.id}' is a result file of fine-tuning; upload what is to be searched", param=param)
        chunking = self._chunking(asked.chunking_strategy)
        return NewFile(file.id, file.filename, file.sha256, file.expires_at, chunking.max_tokens, chunking.overlap_tokens,
                       asked.attributes)  # fmt: skip

    def _chunking(self, strategy: wire.ChunkingStrategy | None) -> Chunking:
        if not isinstance(strategy, wire.StaticChunking):
            return self._auto
        sizes = strategy.static
        if sizes.chunk_overlap_tokens > sizes.max_chunk_size_tokens // 2:
            raise InvalidInput(
                f"chunk_overlap_tokens must not exceed half of max_chunk_size_tokens ({sizes.max_chunk_size_tokens})",
                param="chunking_strategy.static.chunk_overlap_tokens",
            )
        return Chunking(sizes.max_chunk_size_tokens, sizes.chunk_overlap_tokens)

    def _undo_deleted(self, file_ids: Sequence[str]) -> None:
        """Takes out again what was deleted while it was being put in."""
        for file_id in file_ids:
            try:
                self._files.get(file_id)
            except NotFound:
                self._rows.forget(file_id)
                raise


def _each(asked: wire.AddBatch) -> list[wire.AddFile]:
    if bool(asked.file_ids) == bool(asked.files):
        raise InvalidInput("say either file_ids, or files with a file_id each, and at least one", param="file_ids")
    wanted = asked.files or [
        wire.AddFile(file_id=one, attributes=asked.attributes, chunking_strategy=asked.chunking_strategy)
        for one in asked.file_ids or []
    ]
    if len(wanted) > MOST_IN_BATCH:
        raise InvalidInput(f"a batch takes {MOST_IN_BATCH:,} files at most, not {len(wanted):,}", param="file_ids")
    return wanted
