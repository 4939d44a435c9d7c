"""A bake-off as it is asked for over HTTP, and as it is shown."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from advisor.utility import DEFAULT


class CreateBakeoff(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    training_file: str
    """Id of a file uploaded with purpose fine-tune; some of its rows are set aside to be asked."""
    name: str
    """That the winner shall answer under."""
    base: str | None = None
    """A base of this gateway. Default: the first."""
    methods: list[str] | None = None
    """Default: those that an advice about the rows puts first."""
    store: str | None = None
    """A vector store, by name or id, for methods that search."""
    budget_s: float | None = None
    """Seconds after which nothing more is played."""
    profile: str = DEFAULT
    """What counts: quality, cost or latency."""
    publish: str = "better"
    """When the name shall move to the winner: better, always or never."""


class BakeoffError(msgspec.Struct):
    code: str
    message: str
    param: str | None


class Bakeoff(msgspec.Struct, kw_only=True):
    id: str
    created_at: int
    """Unix seconds, as every time here."""
    finished_at: int | None
    status: str
    name: str
    progress: dict[str, Any] | None
    """While it runs: the arm, its rows, its seed and stage, and the share of everything that is done."""
    result: dict[str, Any] | None
    """Once it has ended well: the winner, what became of the name, every arm and cell, the verdict."""
    error: BakeoffError | None
    object: Literal["graft.bakeoff"] = "graft.bakeoff"


class BakeoffList(msgspec.Struct):
    data: list[Bakeoff]
    has_more: bool
    object: Literal["list"] = "list"
