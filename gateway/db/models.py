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
