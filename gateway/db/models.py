"""The tables: pointers only. What a name or a job produced lies in folders (see `adapters/registry.py`).

Times are seconds since 1970, UTC. A change here needs a migration beside it; a test compares the two.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Table(DeclarativeBase):
    # none_as_null: a column without a value is NULL, not the JSON word null
    type_annotation_map = {dict[str, Any]: JSON(none_as_null=True)}  # noqa: RUF012  # SQLAlchemy reads it off the class


class NameRow(Table):
    """Where a name points. A switch is one write of this row; a name that was taken away keeps its row, pointing nowhere."""

    __tablename__ = "names"
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    version: Mapped[int | None] = mapped_column(Integer)
    """What it answers with; none while its first version is not proven yet."""
    previous: Mapped[int | None] = mapped_column(Integer)
    """Where `rollback` goes."""
    wanted: Mapped[int | None] = mapped_column(Integer)
    """What it shall answer with once a gateway has proven it."""
    remark: Mapped[str | None] = mapped_column(Text)
    """Why the last version that was wanted did not become the current one."""
    shares: Mapped[dict[str, Any] | None]
    """Canaries: the share of requests, 0 to 1, by version; the rest is the current version's."""
    base: Mapped[str | None] = mapped_column(String(128))
    """These five describe the current version, so that a list of names reads no folder."""
    kind: Mapped[str | None] = mapped_column(String(16))
    rank: Mapped[int | None] = mapped_column(Integer)
    size_bytes: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[float | None] = mapped_column(Float)
    generation: Mapped[int] = mapped_column(Integer, default=0, index=True)
    """Of the last change, so that a gateway reads only what has changed."""
    updated_at: Mapped[float] = mapped_column(Float)


class MoveRow(Table):
    """What a name went through, for people: one row a change, never altered."""

    __tablename__ = "moves"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(128), index=True)
    at: Mapped[float] = mapped_column(Float)
    what: Mapped[str] = mapped_column(String(16))
    version: Mapped[int | None] = mapped_column(Integer)
    note: Mapped[str | None] = mapped_column(Text)


class QuarantineRow(Table):
    """A version that an engine loaded, but did not serve as it was trained."""

    __tablename__ = "quarantine"
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[float] = mapped_column(Float)
    reason: Mapped[str] = mapped_column(Text)


class RetiredRow(Table):
    """A version that no name leads to any more, whose files wait until no engine can read them."""

    __tablename__ = "retired"
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    digest12: Mapped[str] = mapped_column(String(12), primary_key=True)
    engine_name: Mapped[str] = mapped_column(String(160))
    generation: Mapped[int] = mapped_column(Integer)
    at: Mapped[float] = mapped_column(Float)


class GatewayRow(Table):
    """A gateway on this database: alive while it beats, and done with all that was retired up to a generation."""

    __tablename__ = "gateways"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    beat_at: Mapped[float] = mapped_column(Float)
    done_with: Mapped[int] = mapped_column(Integer, default=-1)
    aside_for: Mapped[str | None] = mapped_column(String(64))
    """The job for which its engines have left the accelerator."""


class GenerationRow(Table):
    """One integer that rises with every change of a name; a snapshot with the same integer is fresh."""

    __tablename__ = "generation"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    value: Mapped[int] = mapped_column(Integer)


class JobRow(Table):
    """One unit of work. `fence` rises with every claim; a runner that lost its lease can no longer write."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    fence: Mapped[int] = mapped_column(Integer, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[float | None] = mapped_column(Float)
    cancel_requested: Mapped[int] = mapped_column(Integer, default=0)
    pause_requested: Mapped[int] = mapped_column(Integer, default=0)
    tenant: Mapped[str] = mapped_column(String(64), default="default")
    labels: Mapped[dict[str, Any] | None]
    """What whoever asked wrote on it, to find it again; the fine-tuning API calls it metadata."""
    asked: Mapped[dict[str, Any] | None]
    """The request of the fine-tuning API with every `auto` resolved; none for a job of the command line."""
    asked_digest: Mapped[str | None] = mapped_column(String(64), index=True)
    """Of the request as it was sent, so that one sent again is known."""
    wants_accelerator: Mapped[int] = mapped_column(Integer, default=0)
    """It runs, and needs the memory that engines use too."""
    created_at: Mapped[float] = mapped_column(Float)
    started_at: Mapped[float | None] = mapped_column(Float)
    finished_at: Mapped[float | None] = mapped_column(Float)
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    __table_args__ = (Index("jobs_by_state", "state", "created_at"),)


class JobEventRow(Table):
    __tablename__ = "job_events"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    at: Mapped[float] = mapped_column(Float)
    message: Mapped[str] = mapped_column(Text)


class VectorStoreRow(Table):
    """Files that are searched together. `generation` names the index that answers; a swap is one write of this row."""

    __tablename__ = "vector_stores"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Ids made later sort behind."""
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(256))
    description: Mapped[str | None] = mapped_column(Text)
    labels: Mapped[dict[str, Any] | None]
    """What its maker wrote on it; the API calls it metadata."""
    created_at: Mapped[float] = mapped_column(Float)
    last_active_at: Mapped[float] = mapped_column(Float)
    expires_after_days: Mapped[int | None] = mapped_column(Integer)
    is_expired: Mapped[int] = mapped_column(Integer, default=0)
    """Its time is over and its files are gone from it; the row stays to say so."""
    generation: Mapped[int | None] = mapped_column(Integer)
    built: Mapped[int] = mapped_column(Integer, default=0)
    """The last generation that anybody began. Who began an earlier one can no longer make it the current one."""
    encoder: Mapped[str | None] = mapped_column(String(128))
    """Whose vectors the current generation holds."""
    revision: Mapped[int] = mapped_column(Integer, default=0)
    """Rises with every change of what a search may find."""
    __table_args__ = (Index("vector_stores_by_tenant", "tenant", "id"), Index("vector_stores_by_name", "tenant", "name"))


class VectorStoreFileRow(Table):
    """A file in a store. One that was taken out and put in again is another row, with a number of its own."""

    __tablename__ = "vector_store_files"
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    store_id: Mapped[str] = mapped_column(ForeignKey("vector_stores.id"))
    file_id: Mapped[str] = mapped_column(String(64), index=True)
    batch_id: Mapped[str | None] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    filename: Mapped[str] = mapped_column(String(256))
    sha256: Mapped[str] = mapped_column(String(64))
    max_tokens: Mapped[int] = mapped_column(Integer)
    overlap_tokens: Mapped[int] = mapped_column(Integer)
    attributes: Mapped[dict[str, Any] | None]
    usage_bytes: Mapped[int] = mapped_column(Integer, default=0)
    passages: Mapped[int] = mapped_column(Integer, default=0)
    tries: Mapped[int] = mapped_column(Integer, default=0)
    """How many workers have died over it."""
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[float] = mapped_column(Float)
    expires_at: Mapped[float | None] = mapped_column(Float, index=True)
    """When the uploaded file itself is gone."""
    __table_args__ = (
        Index("vector_store_files_once", "store_id", "file_id", unique=True),
        Index("vector_store_files_in_order", "store_id", "number"),
        Index("vector_store_files_counted", "store_id", "status", "usage_bytes", "passages"),
        Index("vector_store_files_pending", "status", "store_id"),
        Index("vector_store_files_by_batch", "batch_id", "status"),
        {"sqlite_autoincrement": True},  # without it a number is given again after its row is deleted
    )


class VectorStoreRemovalRow(Table):
    """A file of the current generation that is no longer in the store: searches leave it out until the next generation."""

    __tablename__ = "vector_store_removals"
    store_id: Mapped[str] = mapped_column(ForeignKey("vector_stores.id"), primary_key=True)
    file_id: Mapped[str] = mapped_column(String(64), primary_key=True)


class VectorStoreBatchRow(Table):
    """Files that were put into a store together; the files' rows name it."""

    __tablename__ = "vector_store_batches"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    store_id: Mapped[str] = mapped_column(ForeignKey("vector_stores.id"), index=True)
    created_at: Mapped[float] = mapped_column(Float)
    is_cancelled: Mapped[int] = mapped_column(Integer, default=0)
