"""Follows a job from outside: its events and its run's metrics, each once, in order, until it has ended.

A follower that was cut off goes on behind the place it had reached. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from adapters.errors import InvalidInput
from gateway.jobs.job import Job
from gateway.jobs.metrics import Tail
from gateway.jobs.store import JobStore

LOOK_S = 0.5
"""Rows and files that other processes write: there is nothing to wait on."""
SILENT_S = 15.0
"""After so long without news an empty line is told, so that nobody on the way takes the silence for an end."""

_PLACE = re.compile(r"(\d{1,12})\.(\d{1,12})")

Told = tuple[str, dict[str, Any] | None]
"""(the place behind this, what happened); nothing happened where it is None."""


class Reader:
    """Tells of a job what it has not told yet. Every call reads a row and a file, and blocks."""

    def __init__(self, jobs: JobStore, job: Job, seen: int = 0, read: int = 0) -> None:
        self.job, self._jobs = job, jobs
        self._seen, self._tail = seen, Tail(Path(job.payload["run"]), read)

    def new(self) -> list[Told]:
        """What has come since, in the order in which it happened; the job's final state last."""
        self.job = self._jobs.get(self.job.id)  # first: what came before the end is all there when the end is seen
        seen, read, at = self._seen, self._tail.position, 0.0
        found: list[tuple[float, int | None, int | None, dict[str, Any]]] = []
        for said in self._tail.new():
            at = max(at, said["time"])  # a clock that was set back must not turn the order round
            found.append((at, None, self._tail.position, said))
        for event in self._jobs.events(self.job.id, after=self._seen):
            self._seen = event.id
            found.append((event.at, event.id, None, {"event": "job", "time": event.at, "message": event.message}))
        told: list[Told] = []
        for _, event_id, position, what in sorted(found, key=lambda entry: entry[0]):
            seen, read = event_id or seen, position or read
            told.append((f"{seen}.{read}", what))
        if self.job.is_final:
            final = {"event": "end", "time": self.job.finished_at, "state": self.job.state, "error": self.job.error}
            told.append((f"{seen}.{read}", final))
        return told


class Following:
    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs

    async def begin(self, job_id: str, place: str | None = None) -> AsyncIterator[Told]:
        """Everything from the place on. Raises NotFound for an unknown job, InvalidInput for what is no place."""
        seen, read = 0, 0
        if place is not None:
            at = _PLACE.fullmatch(place)
            if at is None:
                raise InvalidInput(f"'{place[:50]}' is no id of an event of this stream", param="last-event-id")
            seen, read = int(at[1]), int(at[2])
        job = await asyncio.to_thread(self._jobs.get, job_id)
        return self._told(Reader(self._jobs, job, seen, read))

    async def _told(self, reader: Reader) -> AsyncIterator[Told]:
        silent_s = 0.0
        while True:
            new = await asyncio.to_thread(reader.new)
            for told in new:
                yield told
            if reader.job.is_final:
                return
            silent_s = 0.0 if new else silent_s + LOOK_S
            if silent_s >= SILENT_S:
                silent_s = 0.0
                yield "", None
            await asyncio.sleep(LOOK_S)
