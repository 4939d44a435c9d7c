"""Which version a name points at: every change is one transaction that also raises the generation and notes the move.

A version with an adapter is first only *wanted*; the gateway that has proven it settles that. So whoever is killed in the
middle leaves the name where it was, and what was wanted is still wanted. Knows no engine and no HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, delete, insert, select, update

from adapters.adapted_model import AdaptedModel
from adapters.errors import Conflict, InvalidInput, NotFound
from adapters.registry import Registry
from gateway.db.database import reading, writing
from gateway.db.models import GenerationRow, MoveRow, NameRow, QuarantineRow
from gateway.db.retirement import raise_generation, retire
from gateway.reserved import free_name


@dataclass(frozen=True, slots=True)
class Pointer:
    """A name's row as it was read."""

    name: str
    version: int | None = None
    previous: int | None = None
    wanted: int | None = None
    remark: str | None = None
    shares: Mapping[int, float] = field(default_factory=dict)
    base: str | None = None
    kind: str | None = None
    """Of the current version's adapter."""
    rank: int | None = None
    size_bytes: int | None = None
    created_at: float | None = None

    @property
    def versions(self) -> set[int]:
        """Every version that a request or a rollback can lead to."""
        return {v for v in (self.version, self.previous, self.wanted, *self.shares) if v is not None}


@dataclass(frozen=True, slots=True)
class Move:
    at: float
    what: str
    version: int | None
    note: str | None


class Names:
    def __init__(self, database: Engine, registry: Registry) -> None:
        self.database = database
        self.registry = registry

    def want(self, name: str, version: int, *, note: str | None = None) -> bool:
        """Asks for the name to answer with the version; True if it does so at once, since there is nothing to prove."""
        model = self.registry.load(name, version)
        if model.adapter is None:
            self.promote(name, version, note=note)
            return True
        with writing(self.database) as connection:
            row = _row(connection, name)
            if row is not None and row.version == version:
                return True
            _write(connection, name, {"wanted": version, "remark": None})
            _note(connection, name, "wanted", version, note)
        return False

    def promote(self, name: str, version: int, *, note: str | None = None, only_if_wanted: bool = False) -> bool:
        """Points the name at the version, which whoever calls this has proven; tells whether that was (still) to be done.

        Promoting what is current already changes nothing.
        """
        model = self.registry.load(name, version)
        with writing(self.database) as connection:
            row = _row(connection, name)
            if only_if_wanted and (row is None or row.wanted != version):
                return False
            wanted = {"wanted": None, "remark": None} if row is not None and row.wanted in (version, None) else {}
            if row is not None and row.version == version:
                if row.wanted == version:
                    _write(connection, name, wanted)
                return False
            previous = None if row is None else row.version
            _write(connection, name, {"version": version, "previous": previous, "shares": None} | wanted | self._about(model))
            _note(connection, name, "promoted", version, note)
        return True

    def refuse(self, name: str, version: int, reason: str) -> None:
        """The version was wanted and cannot be: the name stays where it is, and the reason is kept."""
        with writing(self.database) as connection:
            row = _row(connection, name)
            if row is not None and row.wanted == version:
                _write(connection, name, {"wanted": None, "remark": f"{name}@{version}: {reason}"})
            _note(connection, name, "refused", version, reason)

    def quarantine(self, name: str, version: int, reason: str) -> None:
        """An engine loaded the version and did not serve what was trained. Its canary share, if it has one, ends."""
        with writing(self.database) as connection:
            key = (QuarantineRow.name == name) & (QuarantineRow.version == version)
            connection.execute(delete(QuarantineRow).where(key))
            connection.execute(insert(QuarantineRow).values(name=name, version=version, at=time.time(), reason=reason))
            row = _row(connection, name)
            if row is not None and version in row.shares:
                _write(connection, name, {"shares": _shares({v: s for v, s in row.shares.items() if v != version})})
            _note(connection, name, "quarantined", version, reason)

    def quarantined(self, name: str) -> dict[int, str]:
        with reading(self.database) as connection:
            rows = connection.execute(select(QuarantineRow.version, QuarantineRow.reason).where(QuarantineRow.name == name))
            return {row.version: row.reason for row in rows}

    def rollback(self, name: str) -> int:
        """Points the name back at the version it had before, and returns that. Twice is back again."""
        with writing(self.database) as connection:
            row = _row(connection, name)
            if row is None or row.version is None:
                raise NotFound(f"there is no published model named '{name}'", param="name")
            if row.previous is None:
                raise Conflict(f"'{name}' has had one version only ({row.version}), so there is nothing to go back to")
            about = self._about(self.registry.load(name, row.previous))
            moved = {"version": row.previous, "previous": row.version, "shares": None, "wanted": None}
            _write(connection, name, moved | about)
            _note(connection, name, "rolled back", row.previous, None)
            return row.previous

    def canary(self, name: str, shares: Mapping[int, float]) -> None:
        """Gives versions a share of the name's requests; what is left goes to the current one. None: ends the canary."""
        for version, share in shares.items():
            self.registry.load(name, version)
            if not 0 < share < 1:
                raise InvalidInput(f"{share}: a share lies between 0 and 1, as in 0.1", param="share")
        if sum(shares.values()) > 1:
            raise InvalidInput("the shares are more than 1 together", param="share")
        with writing(self.database) as connection:
            row = _row(connection, name)
            if row is None or row.version is None:
                raise NotFound(f"'{name}' answers with nothing yet; promote a version first", param="name")
            if row.version in shares:
                raise InvalidInput(f"{name}@{row.version} is current and gets what is left", param="version")
            _write(connection, name, {"shares": _shares(shares)})
            said = ", ".join(f"@{version} {share:.0%}" for version, share in shares.items()) or "ended"
            _note(connection, name, "canary", None, said)

    def forget(self, name: str) -> None:
        """Takes the name away with all its versions; their files go when no engine can read them any more."""
        found = self.registry.names()
        if name not in found:
            raise NotFound(f"there is no adapted model named '{name}'", param="model")
        with writing(self.database) as connection:
            if _row(connection, name) is not None:
                nothing = dict.fromkeys(("version", "previous", "wanted", "remark", "shares"))
                _write(connection, name, nothing)
            generation = raise_generation(connection)
            for draft in self.registry.drafts(name):
                retire(connection, draft, generation)
            for version in self.registry.versions(name):
                retire(connection, self.registry.load(name, version), generation)
            _note(connection, name, "removed", None, None)
        for version in self.registry.versions(name):
            self.registry.retire(name, version)

    def forget_version(self, name: str, version: int) -> None:
        """Makes sure that nothing leads to the version; its files go when no engine can read them any more."""
        model = self.registry.load(name, version)
        with writing(self.database) as connection:
            row = _row(connection, name)
            if row is not None and (row.version == version or version in row.shares):
                raise InvalidInput(
                    f"{name}@{version} is what '{name}' answers with; promote another version first", param="version"
                )
            if row is not None:
                gone = {key: None for key in ("previous", "wanted") if getattr(row, key) == version}
                _write(connection, name, gone)
            retire(connection, model, raise_generation(connection))
            _note(connection, name, "removed", version, None)
        self.registry.retire(name, version)

    def pointer(self, name: str) -> Pointer | None:
        """Straight from the database; None where there is no such name."""
        with reading(self.database) as connection:
            return _row(connection, name)

    def changes(self, since: int) -> tuple[int, list[Pointer]]:
        """(generation, every name that changed after the generation `since`)."""
        with reading(self.database) as connection:
            generation = connection.scalar(select(GenerationRow.value)) or 0
            if generation == since:
                return generation, []
            rows = connection.execute(select(*_COLUMNS).where(NameRow.generation > since))
            return generation, [_pointer(row._mapping) for row in rows]

    def published(self) -> list[Pointer]:
        """Every name that answers with something, sorted."""
        with reading(self.database) as connection:
            rows = connection.execute(select(*_COLUMNS).where(NameRow.version.is_not(None)).order_by(NameRow.name))
            return [_pointer(row._mapping) for row in rows]

    def moves(self, name: str) -> list[Move]:
        """What the name went through, oldest first."""
        columns = (MoveRow.at, MoveRow.what, MoveRow.version, MoveRow.note)
        with reading(self.database) as connection:
            rows = connection.execute(select(*columns).where(MoveRow.name == name).order_by(MoveRow.id))
            return [Move(row.at, row.what, row.version, row.note) for row in rows]

    def _about(self, model: AdaptedModel) -> dict[str, object]:
        adapter = model.adapter
        files = self.registry.adapter_folder(model)
        size = None if adapter is None else sum(file.stat().st_size for file in files.glob("*.safetensors"))
        kind, rank = (adapter.kind, adapter.rank) if adapter else (None, None)
        return {"base": model.base, "kind": kind, "rank": rank, "size_bytes": size, "created_at": time.time()}


_COLUMNS: tuple[Any, ...] = (
    NameRow.name, NameRow.version, NameRow.previous, NameRow.wanted, NameRow.remark, NameRow.shares,
    NameRow.base, NameRow.kind, NameRow.rank, NameRow.size_bytes, NameRow.created_at,
)  # fmt: skip


def _row(connection: Connection, name: str) -> Pointer | None:
    found = connection.execute(select(*_COLUMNS).where(NameRow.name == name)).one_or_none()
    return None if found is None else _pointer(found._mapping)


def _pointer(row: RowMapping) -> Pointer:
    values: dict[str, Any] = dict(row)
    shares = values.pop("shares") or {}
    return Pointer(**values, shares={int(version): share for version, share in shares.items()})


def _shares(shares: Mapping[int, float]) -> dict[str, float] | None:
    return {str(version): share for version, share in shares.items()} or None


def _write(connection: Connection, name: str, values: Mapping[str, object]) -> None:
    """Makes or changes the name's row, under the next generation."""
    written = dict(values) | {"updated_at": time.time(), "generation": raise_generation(connection)}
    if connection.execute(update(NameRow).where(NameRow.name == name).values(**written)).rowcount == 0:
        connection.execute(insert(NameRow).values(name=free_name(name), **written))


def _note(connection: Connection, name: str, what: str, version: int | None, note: str | None) -> None:
    connection.execute(insert(MoveRow).values(name=name, at=time.time(), what=what, version=version, note=note))
