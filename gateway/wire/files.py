"""The Files API as the `openai` client reads it."""

from __future__ import annotations

from typing import Literal

import msgspec


class FileObject(msgspec.Struct):
    id: str
    bytes: int
    created_at: int
    """Unix seconds."""
    filename: str
    purpose: str
    expires_at: int | None = None
    status: Literal["processed"] = "processed"
    object: Literal["file"] = "file"


class FileList(msgspec.Struct):
    data: list[FileObject]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class FileDeleted(msgspec.Struct):
    id: str
    deleted: bool = True
    object: Literal["file"] = "file"
