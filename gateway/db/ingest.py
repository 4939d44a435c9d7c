"""Vector stores as ingest sees them: what waits, what a new generation holds, and the one transaction that makes it current.

Knows no file's content and no index. Calls block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sqlalchemy import Engine, and_, bindparam, delete, false, insert, or_, select, update

from gateway.db.database import reading, writing
from gateway.db.models import VectorStoreFileRow, VectorStoreRemovalRow, VectorStoreRow
from gateway.db.stores import FILE, take_out
from gateway.stores.records import DAY_S, Included, StoreFile

RECUT = "recut"


class IngestRows:
    def __init__(self, database: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    def unsettled(self, encoder: str | None) -> list[str]:
        """Stores whose current generation is not what it should be: files wait, or are gone, or it is another encoder's
        (None: which encoder there is, is not known yet)."""
        waiting = select(VectorStoreFileRow.store_id).where(VectorStoreFileRow.status == "in_progress")
        gone = select(VectorStoreRemovalRow.store_id)
        other = false() if encoder is None else and_(VectorStoreRow.generation.is_not(None), VectorStoreRow.encoder != encoder)
        live = select(VectorStoreRow.id).where(VectorStoreRow.is_expired == 0)
        wanted = live.where(or_(VectorStoreRow.id.in_(waiting), VectorStoreRow.id.in_(gone), other))
        with reading(self._database) as connection:
            return list(connection.scalars(wanted.order_by(VectorStoreRow.last_active_at)))

    def pending(self, store_id: str) -> list[StoreFile]:
        return self._files(store_id, "in_progress")

    def held(self, store_id: str) -> list[StoreFile]:
        """What a generation made now would hold: files that are completed, and those that wait."""
        return self._files(store_id, "completed", "in_progress")

    def _files(self, store_id: str, *statuses: str) -> list[StoreFile]:
        mine = and_(VectorStoreFileRow.store_id == store_id, VectorStoreFileRow.status.in_(statuses))
        with reading(self._database) as connection:
            return [
                StoreFile(*row) for row in connection.execute(select(*FILE).where(mine).order_by(VectorStoreFileRow.number))
            ]

    def is_wanted(self, file: StoreFile) -> bool:
        """It is still in the store, and nobody has cancelled it."""
        mine = select(VectorStoreFileRow.status).where(VectorStoreFileRow.number == file.number)
        with reading(self._database) as connection:
            return connection.scalar(mine) in ("in_progress", "completed")

    def died(self, file: StoreFile) -> int:
        """A worker died over it; returns how many have."""
        mine = VectorStoreFileRow.number == file.number
        with writing(self._database) as connection:
            connection.execute(update(VectorStoreFileRow).where(mine).values(tries=VectorStoreFileRow.tries + 1))
            return connection.scalar(select(VectorStoreFileRow.tries).where(mine)) or 0

    def recut(self, store_id: str, max_tokens: int, overlap_tokens: int, ready: Sequence[Included] = ()) -> bool:
        """All its files are to be cut another way, and those in `ready` are prepared so; until a generation is built of that,
        the present one answers. False where they are cut so already."""
        rows, gone = VectorStoreFileRow, VectorStoreRemovalRow
        other = or_(rows.max_tokens != max_tokens, rows.overlap_tokens != overlap_tokens)
        with writing(self._database) as connection:
            mine = update(rows).where(rows.store_id == store_id, other)
            if connection.execute(mine.values(max_tokens=max_tokens, overlap_tokens=overlap_tokens)).rowcount == 0:
                return False
            for one in ready:
                counts = {"usage_bytes": one.usage_bytes, "passages": one.passages}
                connection.execute(update(rows).where(rows.number == one.number, rows.status == "completed").values(**counts))
            # the removal of no file: what is current is not what it should be
            stale = and_(gone.store_id == store_id, gone.file_id == RECUT)
            connection.execute(delete(gone).where(stale))
            connection.execute(insert(gone).values(store_id=store_id, file_id=RECUT))
            changed = update(VectorStoreRow).where(VectorStoreRow.id == store_id)
            # a generation that is being built may not become current: it holds the files as they were cut before
            connection.execute(changed.values(revision=VectorStoreRow.revision + 1, built=VectorStoreRow.built + 1))
        return True

    def fail(self, file: StoreFile, code: str, message: str) -> None:
        """It cannot be read. A completed one (of another encoder's time) is no longer found either."""
        mine = and_(VectorStoreFileRow.number == file.number, VectorStoreFileRow.status.in_(("in_progress", "completed")))
        values = {"status": "failed", "error": {"code": code, "message": message}, "usage_bytes": 0, "passages": 0}
        with writing(self._database) as connection:
            was = connection.scalar(select(VectorStoreFileRow.status).where(mine))
            connection.execute(update(VectorStoreFileRow).where(mine).values(**values))
            if was == "completed":
                mine = and_(VectorStoreRemovalRow.store_id == file.store_id, VectorStoreRemovalRow.file_id == file.file_id)
                connection.execute(delete(VectorStoreRemovalRow).where(mine))
                connection.execute(insert(VectorStoreRemovalRow).values(store_id=file.store_id, file_id=file.file_id))
            changed = update(VectorStoreRow).where(VectorStoreRow.id == file.store_id)
            connection.execute(changed.values(revision=VectorStoreRow.revision + 1))

    def begin(self, store_id: str) -> int | None:
        """A number for a generation to be built; whoever has an earlier one can no longer publish. None: no such store."""
        mine = VectorStoreRow.id == store_id
        with writing(self._database) as connection:
            connection.execute(update(VectorStoreRow).where(mine).values(built=VectorStoreRow.built + 1))
            return connection.scalar(select(VectorStoreRow.built).where(mine))

    def publish(self, store_id: str, generation: int, encoder: str, included: Sequence[Included]) -> bool:
        """Makes a built generation the current one, and its files completed. An empty one leaves nothing to be found.

        Files that went or were cancelled while it was built are in it, but not in the store: searches leave them out.
        False: the store is gone, or somebody began a later generation.
        """
        rows, gone = VectorStoreFileRow, VectorStoreRemovalRow
        here = and_(rows.store_id == store_id, rows.status.in_(("in_progress", "completed")))
        complete = (
            update(rows).where(rows.number == bindparam("is_number"))
            .values(status="completed", error=None, usage_bytes=bindparam("bytes"), passages=bindparam("cut"))
        )  # fmt: skip
        with writing(self._database) as connection:
            state = select(VectorStoreRow.built).where(VectorStoreRow.id == store_id, VectorStoreRow.is_expired == 0)
            if connection.scalar(state) != generation:
                return False
            there = set(connection.scalars(select(rows.number).where(here)))
            kept = [one for one in included if one.number in there]
            if kept:
                values = [{"is_number": one.number, "bytes": one.usage_bytes, "cut": one.passages} for one in kept]
                connection.execute(complete, values)
            connection.execute(delete(gone).where(gone.store_id == store_id))
            if lost := [{"store_id": store_id, "file_id": one.file_id} for one in included if one.number not in there]:
                connection.execute(insert(gone), lost)
            moved = {"generation": generation if included else None, "encoder": encoder}
            mine = update(VectorStoreRow).where(VectorStoreRow.id == store_id)
            connection.execute(mine.values(revision=VectorStoreRow.revision + 1, **moved))
        return True

    def sweep(self) -> int:
        """Takes expired files out of their stores, and everything out of expired stores; returns how many stores that were.

        An expired store keeps its row, so that callers are told why it finds nothing, until somebody deletes it.
        """
        now = self._clock()
        past = VectorStoreRow.last_active_at + VectorStoreRow.expires_after_days * DAY_S <= now
        over = select(VectorStoreRow.id).where(
            VectorStoreRow.is_expired == 0, VectorStoreRow.expires_after_days.is_not(None), past
        )
        old = select(*FILE).where(VectorStoreFileRow.expires_at <= now)
        with reading(self._database) as connection:
            if connection.execute(over.limit(1)).first() is None and connection.execute(old.limit(1)).first() is None:
                return 0
        with writing(self._database) as connection:
            for file in [StoreFile(*row) for row in connection.execute(old)]:
                take_out(connection, file.store_id, [file])
                changed = update(VectorStoreRow).where(VectorStoreRow.id == file.store_id)
                connection.execute(changed.values(revision=VectorStoreRow.revision + 1))
            expired = list(connection.scalars(over))
            for store_id in expired:
                for table in (VectorStoreRemovalRow, VectorStoreFileRow):
                    connection.execute(delete(table).where(table.store_id == store_id))
                ended = {"is_expired": 1, "generation": None, "revision": VectorStoreRow.revision + 1}
                connection.execute(update(VectorStoreRow).where(VectorStoreRow.id == store_id).values(**ended))
        return len(expired)

    def stores(self) -> dict[str, int | None]:
        """Every store that holds something, and its current generation."""
        with reading(self._database) as connection:
            rows = connection.execute(
                select(VectorStoreRow.id, VectorStoreRow.generation).where(VectorStoreRow.is_expired == 0)
            )
            return {row.id: row.generation for row in rows}
