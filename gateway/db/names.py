"""Which version a name points at, and the snapshot that requests read instead of the database.

A change writes one row and raises one integer in the same transaction. A request compares that integer at most every
`FRESH_S` seconds, and always before it says that a name is unknown. Knows no engine and no HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sqlalchemy import Connection, Engine, delete, insert, select, update

from adapters.adapted_model import AdaptedModel, checked_name
from adapters.errors import Conflict, InvalidInput, NotFound
from adapters.registry import Registry
from gateway.db.database import reading, writing
from gateway.db.models import GenerationRow, NameRow

FRESH_S = 0.2


class Names:
    def __init__(self, database: Engine, registry: Registry, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._registry = registry
        self._clock = clock
        self._generation = -1
        self._checked = float("-inf")
        self._pointers: dict[str, int] = {}
        self._models: dict[tuple[str, int], AdaptedModel] = {}
        self._refreshing = asyncio.Lock()

    # what requests ask

    async def resolve(self, said: str) -> AdaptedModel:
        """The adapted model that `name` points at, or the very one that `name@version` pins."""
        name, _, pin = said.partition("@")
        if self._clock() - self._checked > FRESH_S or name not in self._pointers:
            await self.refresh()
        if name not in self._pointers:
            raise NotFound(
                f"The model '{said}' does not exist. `GET /v1/models` lists those that do.",
                param="model",
                code="model_not_found",
            )
        if pin and not pin.isdigit():
            raise NotFound(f"'{said}': a version is a number, as in '{name}@1'", param="model", code="model_not_found")
        return await self._model(name, int(pin) if pin else self._pointers[name])

    async def published(self) -> list[AdaptedModel]:
        """The current version of every name, sorted by name."""
        await self.refresh()
        return [await self._model(name, version) for name, version in sorted(self._pointers.items())]

    async def refresh(self) -> None:
        async with self._refreshing:
            generation, pointers = await asyncio.to_thread(self._look, self._generation)
            if pointers is not None:
                self._generation, self._pointers = generation, pointers
                # what is current stays read; a pinned version is read again, for it may have been removed
                self._models = {key: model for key, model in self._models.items() if pointers.get(key[0]) == key[1]}
            self._checked = self._clock()

    def _look(self, known: int) -> tuple[int, dict[str, int] | None]:
        with reading(self._database) as connection:
            generation = connection.scalar(select(GenerationRow.value)) or 0
            if generation == known:
                return generation, None
            rows = connection.execute(select(NameRow.name, NameRow.version))
            return generation, {row.name: row.version for row in rows}

    async def _model(self, name: str, version: int) -> AdaptedModel:
        # a version never changes, so what was read once stays true
        if (name, version) not in self._models:
            try:
                self._models[name, version] = await asyncio.to_thread(self._registry.load, name, version)
            except NotFound as error:
                raise NotFound(error.message, param="model", code="model_not_found") from error
        return self._models[name, version]

    # what the command line and the jobs do

    def promote(self, name: str, version: int) -> None:
        """Points the name at the version. Promoting what is current already changes nothing."""
        self._registry.load(name, version)
        with writing(self._database) as connection:
            row = _row(connection, name)
            if row is None:
                values = {"name": checked_name(name), "version": version, "updated_at": time.time()}
                connection.execute(insert(NameRow).values(**values))
            elif row.version == version:
                return
            else:
                _point(connection, name, version, previous=row.version)
            _raise_generation(connection)

    def rollback(self, name: str) -> int:
        """Points the name back at the version it had before, and returns that. Twice is back again."""
        with writing(self._database) as connection:
            row = _row(connection, name)
            if row is None:
                raise NotFound(f"there is no published model named '{name}'", param="name")
            if row.previous is None:
                raise Conflict(f"'{name}' has had one version only ({row.version}), so there is nothing to go back to")
            self._registry.load(name, row.previous)
            _point(connection, name, row.previous, previous=row.version)
            _raise_generation(connection)
            return row.previous

    def forget(self, name: str) -> None:
        """Takes the name away; its folders are the registry's to remove."""
        with writing(self._database) as connection:
            connection.execute(delete(NameRow).where(NameRow.name == name))
            _raise_generation(connection)

    def forget_version(self, name: str, version: int) -> None:
        """Makes sure that no pointer leads to the version, so that its folder may be removed."""
        with writing(self._database) as connection:
            row = _row(connection, name)
            if row is not None and row.version == version:
                raise InvalidInput(
                    f"{name}@{version} is what '{name}' answers with; promote another version first", param="version"
                )
            if row is not None and row.previous == version:
                connection.execute(update(NameRow).where(NameRow.name == name).values(previous=None))
            _raise_generation(connection)

    def pointer(self, name: str) -> tuple[int, int | None] | None:
        """(version, previous) of the name, straight from the database."""
        with reading(self._database) as connection:
            row = _row(connection, name)
            return None if row is None else (row.version, row.previous)


def _row(connection: Connection, name: str) -> NameRow | None:
    found = connection.execute(
        select(NameRow.name, NameRow.version, NameRow.previous).where(NameRow.name == name)
    ).one_or_none()
    return None if found is None else NameRow(name=found.name, version=found.version, previous=found.previous)


def _point(connection: Connection, name: str, version: int, *, previous: int) -> None:
    values = {"version": version, "previous": previous, "updated_at": time.time()}
    connection.execute(update(NameRow).where(NameRow.name == name).values(**values))


def _raise_generation(connection: Connection) -> None:
    connection.execute(update(GenerationRow).values(value=GenerationRow.value + 1))
