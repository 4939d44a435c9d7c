"""When a removed version's files may go: once every gateway that is alive has said that no engine of it can read them.

A gateway beats, and says up to which generation it is done with what was retired. Knows no engine.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from adapters.adapted_model import AdaptedModel
from adapters.errors import Conflict
from adapters.registry import Registry
from gateway.db.database import reading, writing
from gateway.db.models import GatewayRow, GenerationRow, RetiredRow

BEAT_S = 5.0
DEAD_AFTER_S = 30.0
"""A gateway that has not beaten for so long is gone, and its engines went with it."""


@dataclass(frozen=True, slots=True)
class Retired:
    name: str
    digest12: str
    engine_name: str
    generation: int


class Retirement:
    def __init__(self, database: Engine, registry: Registry) -> None:
        self._database, self._registry = database, registry

    def beat(self, gateway: str, done_with: int) -> None:
        with writing(self._database) as connection:
            values = {"beat_at": time.time(), "done_with": done_with}
            if connection.execute(update(GatewayRow).where(GatewayRow.id == gateway).values(**values)).rowcount == 0:
                connection.execute(insert(GatewayRow).values(id=gateway, **values))

    def leave(self, gateway: str) -> None:
        with writing(self._database) as connection:
            connection.execute(delete(GatewayRow).where(GatewayRow.id == gateway))

    def alive(self) -> list[str]:
        with reading(self._database) as connection:
            return list(connection.scalars(select(GatewayRow.id).where(GatewayRow.beat_at > time.time() - DEAD_AFTER_S)))

    def waiting(self) -> list[Retired]:
        """What is retired and still has its files."""
        with reading(self._database) as connection:
            columns = (RetiredRow.name, RetiredRow.digest12, RetiredRow.engine_name, RetiredRow.generation)
            return [Retired(*row) for row in connection.execute(select(*columns))]

    def collect(self) -> list[Retired]:
        """Removes the files that nobody can read any more; returns what they were."""
        with reading(self._database) as connection:
            is_alive = GatewayRow.beat_at > time.time() - DEAD_AFTER_S
            done = connection.scalar(select(func.min(GatewayRow.done_with)).where(is_alive))
        gone = []
        for retired in self.waiting():
            if done is None or retired.generation <= done:
                try:
                    self._registry.discard(retired.name, retired.digest12)
                    gone.append(retired)
                except Conflict:  # the same model was published again in the meantime: it is nobody's to remove
                    pass
                with writing(self._database) as connection:
                    key = (RetiredRow.name == retired.name) & (RetiredRow.digest12 == retired.digest12)
                    connection.execute(delete(RetiredRow).where(key))
        return gone


def retire(connection: Connection, model: AdaptedModel, generation: int) -> None:
    """Notes that the model's files are to go. Within the transaction that took the last pointer away."""
    digest12 = model.digest[:12]
    key = (RetiredRow.name == model.name) & (RetiredRow.digest12 == digest12)
    connection.execute(delete(RetiredRow).where(key))
    values = {"engine_name": model.engine_name, "generation": generation, "at": time.time()}
    connection.execute(insert(RetiredRow).values(name=model.name, digest12=digest12, **values))


def raise_generation(connection: Connection) -> int:
    connection.execute(update(GenerationRow).values(value=GenerationRow.value + 1))
    return connection.scalar(select(GenerationRow.value)) or 0
