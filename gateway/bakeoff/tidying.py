"""What bake-offs leave behind and nobody needs: throwaway names, stores of those that ended without a winner, old cells.

Each part may be done twice, or be cut off and done again. Knows no arm and no model.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from adapters.errors import GraftError
from gateway.bakeoff import cells
from gateway.bakeoff.naming import tidy as forget_throwaways
from gateway.bakeoff.ordering import KIND
from gateway.bakeoff.request import RESULT
from gateway.bakeoff.searching import remove_unused
from gateway.db.names import Names
from gateway.jobs.store import JobStore
from gateway.settings import Settings

KEPT_DAYS = 30
"""What was played counts in later bake-offs, and whoever has not asked for it in a month has other rows or another base."""
PAGE = 100


def tidy(settings: Settings, names: Names, clock: Callable[[], float] = time.time) -> None:
    """Only while no bake-off runs."""
    forget_throwaways(settings, names)
    for run in _without_a_winner(JobStore(names.database)):
        try:
            remove_unused(settings, run)
        except GraftError as error:  # one damaged folder must not keep a runner from its work
            print(f"the store of {run.name} was not taken away: {error.message}", file=sys.stderr)
    cells.remove_unused(settings.storage_home, before=clock() - KEPT_DAYS * 86_400)


def _without_a_winner(jobs: JobStore) -> Iterator[Path]:
    """Folders of bake-offs that failed or were cancelled, and had a store made for them."""
    after: str | None = None
    while True:
        found, more = jobs.of_kind(KIND, limit=PAGE, after=after)
        for job in found:
            run = Path(job.payload["run"])
            if job.is_final and job.payload.get("is_own_store") and run.is_dir() and not (run / RESULT).is_file():
                yield run
        if not more or not found:
            return
        after = found[-1].id
