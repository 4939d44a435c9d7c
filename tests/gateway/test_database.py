"""The schema that the migrations make is the schema that the models say; SQLite is opened so that writers wait, not fail."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from gateway.db.database import open_database, reading, writing
from gateway.db.models import Table


def test_migrations_and_models_agree(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/graft.db")
    with reading(database) as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


def test_opening_twice_at_the_same_time_migrates_once(tmp_path: Path) -> None:
    failures: list[Exception] = []

    def open_it() -> None:
        try:
            open_database(f"sqlite:///{tmp_path}/graft.db")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_writer_holds_the_lock_from_its_start_so_that_what_it_read_stays_true(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/graft.db")

    def add_one() -> None:
        for _ in range(25):
            with writing(database) as connection:
                value = connection.scalar(text("SELECT value FROM generation"))
                connection.execute(text("UPDATE generation SET value = :value"), {"value": value + 1})

    threads = [threading.Thread(target=add_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(database) as connection:
        assert connection.scalar(text("SELECT value FROM generation")) == 100
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
