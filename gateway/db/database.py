"""Opens the database and brings it to the newest schema. SQLite in WAL mode, or Postgres by its URL.

Synchronous on purpose: no request reads the database (names are cached, see `names.py`), and the runner, the command
line and the gateway's rare writes then share one set of code. Knows no table's meaning.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_S = 15
"""A writer is waited for."""


def open_database(url: str) -> Engine:
    """An engine on the newest schema. SQLite is migrated here; Postgres by `python -m gateway.db.database URL`."""
    parsed = make_url(url)
    engine = create_engine(parsed)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            _write_ahead(Path(parsed.database))
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        if not is_newest(engine):
            migrate(engine)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that holds the write lock from its start, so that what it read is still true when it writes."""
    with engine.connect().execution_options(graft_write=True) as connection, connection.begin():
        yield connection


def migrate(engine: Engine) -> None:
    from alembic import command  # half a second of imports, which a database that is up to date need not cost
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_newest(engine: Engine) -> bool:
    """The schema is this Graft's."""
    newest = max(file.stem.split("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    with reading(engine) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return False
        return bool(connection.scalar(text("SELECT version_num FROM alembic_version")) == newest)


def _write_ahead(file: Path) -> None:
    """The file is there, in WAL mode, which it then keeps. One at a time: of several that switch at once SQLite refuses some at
    once, whatever busy_timeout says, because each holds what the other waits for."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.opening").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        with closing(sqlite3.connect(file, timeout=BUSY_S)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # pysqlite's own transaction handling begins too late (at the first write); ours begins in _begin_sqlite
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (f"busy_timeout = {BUSY_S * 1000}", "synchronous = NORMAL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # a read transaction that turns into a write one fails at once, whatever busy_timeout says; so writers say so first
    writes = connection.get_execution_options().get("graft_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


if __name__ == "__main__":
    import sys

    migrate(create_engine(sys.argv[1]))
