"""What is remembered of a vector store, of a file in it and of a batch of files. Knows no database and no HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["in_progress", "completed", "failed", "cancelled"]
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Store:
    id: str
    tenant: str
    name: str
    description: str | None
    labels: dict[str, str] | None
    created_at: float
    """Unix seconds, as every time here."""
    last_active_at: float
    expires_after_days: int | None
    is_expired: bool
    generation: int | None
    """The index that answers; None while there is nothing to find."""
    encoder: str | None
    """Whose vectors it holds."""
    revision: int
    """Rises with every change of what a search may find."""

    @property
    def expires_at(self) -> float | None:
        return None if self.expires_after_days is None else self.last_active_at + self.expires_after_days * DAY_S

    def is_over(self, now: float) -> bool:
        return self.is_expired or (self.expires_at is not None and self.expires_at <= now)


@dataclass(frozen=True, slots=True)
class NewFile:
    """What is known of an uploaded file when it is put into a store."""

    file_id: str
    filename: str
    sha256: str
    expires_at: float | None
    max_tokens: int
    overlap_tokens: int
    attributes: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class StoreFile:
    number: int
    """Of this stay of the file in the store: put in again after it was taken out, it has another one."""
    store_id: str
    file_id: str
    batch_id: str | None
    status: Status
    filename: str
    sha256: str
    max_tokens: int
    overlap_tokens: int
    attributes: dict[str, Any] | None
    usage_bytes: int
    passages: int
    error: dict[str, str] | None
    """`code` and `message`, of one that failed."""
    created_at: float


@dataclass(frozen=True, slots=True)
class Counts:
    """Files of a store or a batch by status, and what the completed ones come to."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    usage_bytes: int = 0
    passages: int = 0

    @property
    def total(self) -> int:
        return self.in_progress + self.completed + self.failed + self.cancelled


@dataclass(frozen=True, slots=True)
class Batch:
    id: str
    store_id: str
    created_at: float
    is_cancelled: bool
    counts: Counts


@dataclass(frozen=True, slots=True)
class Included:
    """A file as it went into a generation."""

    number: int
    file_id: str
    usage_bytes: int
    passages: int


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a search must know of a store beside its index: the files that may be found, and those that no longer may."""

    files: dict[str, tuple[str, dict[str, Any]]]
    """File id → (filename, attributes)."""
    removed: frozenset[str]
    """In the current generation, but not in the store any more."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Which part of a list is asked for. `after` and `before` are ids of items of it, next to which the part stands."""

    limit: int = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None
