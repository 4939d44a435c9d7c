"""The parts that verbs work on, opened from the settings: registry, names and jobs. Needs no gateway running."""

from __future__ import annotations

from adapters.registry import Registry
from gateway import settings
from gateway.db.database import open_database
from gateway.db.names import Names
from gateway.db.retirement import Retirement
from gateway.jobs.store import JobStore


class Desk:
    def __init__(self) -> None:
        self.settings = settings.load()
        database = open_database(self.settings.database_url)
        self.registry = Registry(self.settings.models)
        self.names = Names(database, self.registry)
        self.retirement = Retirement(database, self.registry)
        self.jobs = JobStore(database)
