"""Stores, files, batches and finds as the API shows them. Pure: records in, wire out."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.stores.records import Batch, Counts, Store, StoreFile
from gateway.stores.searching import Hit
from gateway.wire import vector_stores as wire


def shown_store(store: Store, counts: Counts, now: float) -> wire.VectorStore:
    expires_at, days = store.expires_at, store.expires_after_days
    busy: wire.StoreStatus = "in_progress" if counts.in_progress else "completed"
    return wire.VectorStore(
        id=store.id, created_at=int(store.created_at), name=store.name, description=store.description,
        usage_bytes=counts.usage_bytes, file_counts=_counts(counts), status="expired" if store.is_over(now) else busy,
        expires_after=None if days is None else wire.ExpiresAfter("last_active_at", days),
        expires_at=None if expires_at is None else int(expires_at), last_active_at=int(store.last_active_at),
        metadata=store.labels, graft=wire.GraftStore(counts.passages, store.generation),
    )  # fmt: skip


def shown_file(file: StoreFile) -> wire.VectorStoreFile:
    return wire.VectorStoreFile(
        id=file.file_id, created_at=int(file.created_at), vector_store_id=file.store_id, status=file.status,
        last_error=None if file.error is None else wire.LastError(file.error["code"], file.error["message"]),
        usage_bytes=file.usage_bytes, attributes=file.attributes, graft=wire.GraftFile(file.filename, file.passages),
        chunking_strategy=wire.StaticChunking(wire.StaticSizes(file.max_tokens, file.overlap_tokens)),
    )  # fmt: skip


def shown_batch(batch: Batch) -> wire.FileBatch:
    counts = batch.counts
    if batch.is_cancelled:
        status: wire.FileStatus = "cancelled"
    elif counts.in_progress:
        status = "in_progress"
    else:
        status = "failed" if counts.total and counts.failed == counts.total else "completed"
    return wire.FileBatch(
        id=batch.id, created_at=int(batch.created_at), vector_store_id=batch.store_id, status=status,
        file_counts=_counts(counts),
    )  # fmt: skip


def shown_hits(queries: Sequence[str], hits: Sequence[Hit]) -> wire.SearchPage:
    return wire.SearchPage(search_query=list(queries), data=[_hit(hit) for hit in hits])


def _hit(hit: Hit) -> wire.SearchResult:
    found = hit.found
    return wire.SearchResult(
        file_id=hit.file_id, filename=hit.filename, score=found.score, attributes=hit.attributes,
        content=[wire.TextPart(found.text)], graft=wire.GraftResult(found.start, found.end, found.heading, dict(found.ranks)),
    )  # fmt: skip


def _counts(counts: Counts) -> wire.FileCounts:
    return wire.FileCounts(counts.in_progress, counts.completed, counts.failed, counts.cancelled, counts.total)
