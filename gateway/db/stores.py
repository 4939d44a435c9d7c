"""Vector stores, their files and batches as rows: what the API writes and reads. Ingest's side is `ingest.py`.

Every change is one transaction; whatever a search may find changes together with the store's revision. Calls block.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Select, and_, delete, func, insert, select, update

from adapters.errors import InvalidInput, NotFound
from gateway.db.database import reading, writing
from gateway.db.models import VectorStoreBatchRow, VectorStoreFileRow, VectorStoreRemovalRow, VectorStoreRow
from gateway.stores.records import Batch, Counts, Cut, NewFile, Shelf, Store, StoreFile

STORE = [getattr(VectorStoreRow, field) for field in Store.__dataclass_fields__]
FILE = [getattr(VectorStoreFileRow, field) for field in StoreFile.__dataclass_fields__]
AT_ONCE = 500
"""Values in one IN (…)."""


class StoreRows:
    def __init__(self, database: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    # stores

    def create(self, tenant: str, files: Sequence[NewFile], *, most_files: int, **fields: Any) -> Store:
        """`fields`: name, description, labels, expires_after_days."""
        now = self._clock()
        store_id = _new_id("vs")
        fresh = {"created_at": now, "last_active_at": now, "is_expired": 0, "built": 0, "revision": 0}
        with writing(self._database) as connection:
            connection.execute(insert(VectorStoreRow).values(id=store_id, tenant=tenant, **fields, **fresh))
            self._attach(connection, store_id, files, None, most_files)
        return self.get(tenant, store_id)

    def get(self, tenant: str, said: str) -> Store:
        """By id, or by name where one store has it. Raises NotFound; InvalidInput where several have the name."""
        with reading(self._database) as connection:
            return self._get(connection, tenant, said)

    def _get(self, connection: Connection, tenant: str, said: str) -> Store:
        mine = select(*STORE).where(VectorStoreRow.tenant == tenant)
        row = connection.execute(mine.where(VectorStoreRow.id == said)).one_or_none()
        if row is None:
            named = connection.execute(mine.where(VectorStoreRow.name == said).limit(2)).all() if said else []
            if len(named) > 1:
                raise InvalidInput(f"several vector stores are called '{said}'; say the id of one", param="vector_store_id")
            if not named:
                raise _no_store(said)
            row = named[0]
        return _store(row)

    def page(self, tenant: str, cut: Cut) -> tuple[list[Store], bool]:
        """Stores by age, and whether there are more."""
        mine = select(*STORE).where(VectorStoreRow.tenant == tenant)
        with reading(self._database) as connection:
            rows, more = _part(connection, mine, VectorStoreRow.id, cut, cut.after, cut.before)
        return [_store(row) for row in rows], more

    def counts(self, store_ids: Sequence[str]) -> dict[str, Counts]:
        return self._counts(VectorStoreFileRow.store_id, store_ids)

    def modify(self, store: Store, **values: Any) -> None:
        with writing(self._database) as connection:
            connection.execute(update(VectorStoreRow).where(VectorStoreRow.id == store.id).values(**values))

    def remove(self, store: Store) -> None:
        """The store with everything in it. Its folder is removed by ingest, which finds no row for it."""
        with writing(self._database) as connection:
            for table in (VectorStoreRemovalRow, VectorStoreFileRow, VectorStoreBatchRow):
                connection.execute(delete(table).where(table.store_id == store.id))
            if connection.execute(delete(VectorStoreRow).where(VectorStoreRow.id == store.id)).rowcount == 0:
                raise _no_store(store.id)

    def touch(self, store_id: str) -> None:
        with writing(self._database) as connection:
            touched = update(VectorStoreRow).where(VectorStoreRow.id == store_id, VectorStoreRow.is_expired == 0)
            connection.execute(touched.values(last_active_at=self._clock()))

    # files

    def attach(self, store: Store, files: Sequence[NewFile], *, most_files: int) -> None:
        """Puts files in. One that is in already, cut the same way, only gets the new attributes; else it is taken out first.

        Raises NotFound if the store is gone, InvalidInput where it would have more than `most_files`.
        """
        with writing(self._database) as connection:
            self._attach(connection, store.id, files, None, most_files)

    def attach_batch(self, store: Store, files: Sequence[NewFile], *, most_files: int) -> Batch:
        batch_id, now = _new_id("vsfb"), self._clock()
        with writing(self._database) as connection:
            if connection.scalar(select(VectorStoreRow.id).where(VectorStoreRow.id == store.id)) is None:
                raise _no_store(store.id)
            row = {"id": batch_id, "store_id": store.id, "created_at": now, "is_cancelled": 0}
            connection.execute(insert(VectorStoreBatchRow).values(**row))
            self._attach(connection, store.id, files, batch_id, most_files)
        return self.batch(store, batch_id)

    def _attach(
        self, connection: Connection, store_id: str, files: Sequence[NewFile], batch_id: str | None, most_files: int
    ) -> None:
        _changed(connection, store_id, by=0, last_active_at=self._clock())  # files that wait are not found yet
        wanted = {file.file_id: file for file in files}
        there = {row.file_id: row for row in _those(connection, store_id, list(wanted))}
        replaced = []
        for file_id, row in there.items():
            new = wanted[file_id]
            same_cut = (row.max_tokens, row.overlap_tokens) == (new.max_tokens, new.overlap_tokens)
            if not same_cut or row.status in ("failed", "cancelled"):
                replaced.append(row)
                continue
            values: dict[str, Any] = {"batch_id": batch_id} if batch_id else {}
            values |= {} if new.attributes is None else {"attributes": new.attributes}
            if values:
                mine = VectorStoreFileRow.number == row.number
                connection.execute(update(VectorStoreFileRow).where(mine).values(**values))
            del wanted[file_id]
        take_out(connection, store_id, replaced)
        _changed(connection, store_id, by=int(bool(there)))
        held = connection.scalar(select(func.count()).where(VectorStoreFileRow.store_id == store_id)) or 0
        if held + len(wanted) > most_files:
            raise InvalidInput(
                f"a vector store holds {most_files:,} files at most; this one has {held:,}, and {len(wanted):,} are to come",
                param="file_ids",
            )
        now = self._clock()
        fields = NewFile.__dataclass_fields__
        fresh = {"store_id": store_id, "batch_id": batch_id, "status": "in_progress", "created_at": now,
                 "usage_bytes": 0, "passages": 0, "tries": 0}  # fmt: skip
        if wanted:
            rows = [{field: getattr(file, field) for field in fields} | fresh for file in wanted.values()]
            connection.execute(insert(VectorStoreFileRow), rows)

    def file(self, store: Store, file_id: str) -> StoreFile:
        with reading(self._database) as connection:
            rows = _those(connection, store.id, [file_id])
        if not rows:
            raise _no_file(store, file_id)
        return rows[0]

    def files(
        self, store: Store, cut: Cut, *, batch_id: str | None = None, status: str | None = None
    ) -> tuple[list[StoreFile], bool]:
        """Files by when they were put in, and whether there are more."""
        query = select(*FILE).where(VectorStoreFileRow.store_id == store.id)
        query = query if batch_id is None else query.where(VectorStoreFileRow.batch_id == batch_id)
        query = query if status is None else query.where(VectorStoreFileRow.status == status)
        after, before = (self.file(store, said).number if said else None for said in (cut.after, cut.before))
        with reading(self._database) as connection:
            rows, more = _part(connection, query, VectorStoreFileRow.number, cut, after, before)
        return [StoreFile(*row) for row in rows], more

    def describe(self, store: Store, file_id: str, attributes: dict[str, Any] | None) -> None:
        mine = and_(VectorStoreFileRow.store_id == store.id, VectorStoreFileRow.file_id == file_id)
        with writing(self._database) as connection:
            if connection.execute(update(VectorStoreFileRow).where(mine).values(attributes=attributes)).rowcount == 0:
                raise _no_file(store, file_id)
            _changed(connection, store.id)

    def detach(self, store: Store, file_id: str) -> None:
        with writing(self._database) as connection:
            rows = _those(connection, store.id, [file_id])
            if not rows:
                raise _no_file(store, file_id)
            take_out(connection, store.id, rows)
            _changed(connection, store.id)

    def forget(self, file_id: str) -> int:
        """Takes the file out of every store; returns of how many."""
        with writing(self._database) as connection:
            mine = select(*FILE).where(VectorStoreFileRow.file_id == file_id)
            rows = [StoreFile(*row) for row in connection.execute(mine)]
            for row in rows:
                take_out(connection, row.store_id, [row])
                _changed(connection, row.store_id)
        return len(rows)

    # batches

    def batch(self, store: Store, batch_id: str) -> Batch:
        mine = and_(VectorStoreBatchRow.id == batch_id, VectorStoreBatchRow.store_id == store.id)
        with reading(self._database) as connection:
            row = connection.execute(
                select(VectorStoreBatchRow.created_at, VectorStoreBatchRow.is_cancelled).where(mine)
            ).first()
        if row is None:
            raise NotFound(f"store '{store.id}' has no file batch '{_shown(batch_id)}'", param="batch_id")
        counts = self._counts(VectorStoreFileRow.batch_id, [batch_id])[batch_id]
        return Batch(batch_id, store.id, row.created_at, bool(row.is_cancelled), counts)

    def cancel(self, store: Store, batch_id: str) -> None:
        """Its files that are not completed yet are cancelled; what is completed stays."""
        pending = and_(VectorStoreFileRow.batch_id == batch_id, VectorStoreFileRow.status == "in_progress")
        with writing(self._database) as connection:
            mine = and_(VectorStoreBatchRow.id == batch_id, VectorStoreBatchRow.store_id == store.id)
            connection.execute(update(VectorStoreBatchRow).where(mine).values(is_cancelled=1))
            connection.execute(update(VectorStoreFileRow).where(pending).values(status="cancelled"))
            _changed(connection, store.id)

    # what a search asks

    def shelf(self, store: Store) -> Shelf:
        columns = (VectorStoreFileRow.file_id, VectorStoreFileRow.filename, VectorStoreFileRow.attributes)
        there = and_(VectorStoreFileRow.store_id == store.id, VectorStoreFileRow.status == "completed")
        gone = select(VectorStoreRemovalRow.file_id).where(VectorStoreRemovalRow.store_id == store.id)
        with reading(self._database) as connection:
            removed = frozenset(connection.scalars(gone))
            rows = connection.execute(select(*columns).where(there))
            return Shelf({row.file_id: (row.filename, row.attributes or {}) for row in rows}, removed)

    def _counts(self, by: Any, ids: Sequence[str]) -> dict[str, Counts]:
        status, size, passages = VectorStoreFileRow.status, VectorStoreFileRow.usage_bytes, VectorStoreFileRow.passages
        sums = select(by, status, func.count(), func.sum(size), func.sum(passages)).where(by.in_(ids)).group_by(by, status)
        found: dict[str, dict[str, int]] = {one: {} for one in ids}
        with reading(self._database) as connection:
            for one, state, number, used, held in connection.execute(sums):
                found[one][state] = number
                if state == "completed":
                    found[one] |= {"usage_bytes": used, "passages": held}
        return {one: Counts(**values) for one, values in found.items()}


def take_out(connection: Connection, store_id: str, rows: Sequence[StoreFile]) -> None:
    """Deletes files of a store; what the current generation holds of them is not found from here on."""
    numbers = [row.number for row in rows]
    for start in range(0, len(numbers), AT_ONCE):
        some = VectorStoreFileRow.number.in_(numbers[start : start + AT_ONCE])
        connection.execute(delete(VectorStoreFileRow).where(some))
    shown = {row.file_id for row in rows if row.status == "completed"}
    if not shown:
        return
    known = select(VectorStoreRemovalRow.file_id).where(VectorStoreRemovalRow.store_id == store_id)
    fresh = sorted(shown - set(connection.scalars(known)))
    if fresh:
        connection.execute(insert(VectorStoreRemovalRow), [{"store_id": store_id, "file_id": one} for one in fresh])


def _changed(connection: Connection, store_id: str, *, by: int = 1, **values: Any) -> None:
    """What may be found in the store is changing; raises NotFound if it is gone or expired meanwhile."""
    mine = update(VectorStoreRow).where(VectorStoreRow.id == store_id, VectorStoreRow.is_expired == 0)
    if connection.execute(mine.values(revision=VectorStoreRow.revision + by, **values)).rowcount == 0:
        raise _no_store(store_id)


def _those(connection: Connection, store_id: str, file_ids: Sequence[str]) -> list[StoreFile]:
    found: list[StoreFile] = []
    for start in range(0, len(file_ids), AT_ONCE):
        some = VectorStoreFileRow.file_id.in_(file_ids[start : start + AT_ONCE])
        rows = connection.execute(select(*FILE).where(VectorStoreFileRow.store_id == store_id, some))
        found += [StoreFile(*row) for row in rows]
    return found


def _part(
    connection: Connection, query: Select[Any], key: Any, cut: Cut, after: Any, before: Any
) -> tuple[list[Any], bool]:  # fmt: skip
    """The rows of a list that stand behind `after`, or right in front of `before`; and whether more lie that way."""
    rising = cut.order == "asc"
    if after is not None:
        query = query.where(key > after if rising else key < after)
    if before is not None:
        query = query.where(key < before if rising else key > before)
    backwards = before is not None and after is None
    first = key.asc() if rising != backwards else key.desc()
    rows = list(connection.execute(query.order_by(first).limit(cut.limit + 1)))
    part, more = rows[: cut.limit], len(rows) > cut.limit
    return part[::-1] if backwards else part, more


def _store(row: Any) -> Store:
    return Store(**{field: getattr(row, field) for field in Store.__dataclass_fields__} | {"is_expired": bool(row.is_expired)})


def _new_id(prefix: str) -> str:
    return f"{prefix}_{time.time_ns():016x}{secrets.token_hex(4)}"


def _shown(said: str) -> str:
    return said if said.isprintable() and len(said) < 100 else "that id"


def _no_store(said: str) -> NotFound:
    listed = "`graft stores ls` and GET /v1/vector_stores list them"
    return NotFound(f"there is no vector store '{_shown(said)}'; {listed}", param="vector_store_id")


def _no_file(store: Store, file_id: str) -> NotFound:
    return NotFound(f"store '{store.id}' has no file '{_shown(file_id)}'", param="file_id")
