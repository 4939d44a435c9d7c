"""The queue: jobs as rows, claimed under a lease and fenced, so that no two runners ever write for one job.

States: queued → running → succeeded | failed | cancelled; a job whose runner or process died goes back to queued.
Knows nothing of what a job does.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, and_, insert, or_, select, update

from adapters.errors import Conflict, NotFound
from gateway.db.database import reading, writing
from gateway.db.models import JobEventRow, JobRow

FINAL = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Job:
    id: str
    kind: str
    payload: dict[str, Any]
    state: str
    attempt: int
    fence: int
    cancel_requested: bool
    created_at: float
    started_at: float | None
    finished_at: float | None
    error: dict[str, Any] | None
    result: dict[str, Any] | None

    @property
    def is_final(self) -> bool:
        return self.state in FINAL


@dataclass(frozen=True, slots=True)
class JobEvent:
    id: int
    at: float
    message: str


class LeaseLost(Conflict):
    """Another runner has claimed the job since; whoever sees this must stop touching it."""

    code = "lease_lost"


_COLUMNS = [getattr(JobRow, field) for field in Job.__dataclass_fields__]


class JobStore:
    def __init__(self, database: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def submit(self, kind: str, payload: dict[str, Any], *, job_id: str | None = None) -> Job:
        """Accepts a job; once this returns, it ends in exactly one final state whatever is killed."""
        job_id = job_id or f"job-{secrets.token_hex(6)}"
        with writing(self._database) as connection:
            fresh = {"state": "queued", "attempt": 0, "fence": 0, "cancel_requested": 0, "created_at": self._clock()}
            connection.execute(insert(JobRow).values(id=job_id, kind=kind, payload=payload, **fresh))
            self._say(connection, job_id, "accepted")
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        with reading(self._database) as connection:
            row = connection.execute(select(*_COLUMNS).where(JobRow.id == job_id)).one_or_none()
        if row is None:
            raise NotFound(f"there is no job '{job_id}'; `graft jobs ls` lists them", param="job")
        return _job(row)

    def newest(self, limit: int = 50) -> list[Job]:
        with reading(self._database) as connection:
            rows = connection.execute(select(*_COLUMNS).order_by(JobRow.created_at.desc()).limit(limit))
            return [_job(row) for row in rows]

    def events(self, job_id: str, *, after: int = 0) -> list[JobEvent]:
        columns = (JobEventRow.id, JobEventRow.at, JobEventRow.message)
        query = select(*columns).where(JobEventRow.job_id == job_id, JobEventRow.id > after).order_by(JobEventRow.id)
        with reading(self._database) as connection:
            return [JobEvent(row.id, row.at, row.message) for row in connection.execute(query)]

    # what a runner does

    def claim(self, owner: str, *, lease_s: float, attempts: int) -> Job | None:
        """The oldest job that waits or whose lease ran out, now this owner's; None when there is none.

        A job that has used up its attempts is failed here, with the reason.
        """
        now = self._clock()
        waiting = or_(JobRow.state == "queued", and_(JobRow.state == "running", JobRow.lease_until < now))
        oldest = select(*_COLUMNS).where(waiting).order_by(JobRow.created_at).limit(1).with_for_update(skip_locked=True)
        with writing(self._database) as connection:
            while (row := connection.execute(oldest).one_or_none()) is not None:
                job = _job(row)
                if job.cancel_requested:
                    self._end(connection, job, "cancelled", error=None, result=None)
                    continue
                if job.attempt >= attempts:
                    reason = f"the job died {job.attempt} times; its log says why, `graft jobs logs {job.id}` shows it"
                    self._end(connection, job, "failed", error={"code": "job_died", "message": reason}, result=None)
                    continue
                values = {
                    "state": "running", "lease_owner": owner, "lease_until": now + lease_s, "fence": job.fence + 1,
                    "attempt": job.attempt + 1, "started_at": job.started_at or now,
                }  # fmt: skip
                connection.execute(update(JobRow).where(JobRow.id == job.id).values(**values))
                self._say(connection, job.id, f"started (attempt {job.attempt + 1} of {attempts})")
                return _job(connection.execute(select(*_COLUMNS).where(JobRow.id == job.id)).one())
        return None

    def renew(self, job: Job, *, lease_s: float) -> Job:
        """Keeps the lease and tells what has changed (a wish to cancel). Raises LeaseLost."""
        with writing(self._database) as connection:
            self._fenced(connection, job, lease_until=self._clock() + lease_s)
        return self.get(job.id)

    def requeue(self, job: Job, reason: str, *, count: bool = True) -> None:
        """Puts the job back. `count=False` where the job did not die but its runner was asked to stop."""
        with writing(self._database) as connection:
            attempt = job.attempt if count else job.attempt - 1
            self._fenced(connection, job, state="queued", lease_owner=None, lease_until=None, attempt=attempt)
            self._say(connection, job.id, f"back in the queue: {reason}")

    def finish(
        self, job: Job, state: str, *, error: dict[str, Any] | None = None, result: dict[str, Any] | None = None
    ) -> None:
        """Ends the job in a final state, once. Raises LeaseLost."""
        with writing(self._database) as connection:
            self._fenced(connection, job)
            self._end(connection, job, state, error=error, result=result)

    def cancel(self, job_id: str) -> Job:
        """Asks for the end of a job. One that waits ends at once, one that runs within a few seconds."""
        job = self.get(job_id)
        if job.is_final:
            raise Conflict(f"job '{job_id}' has ended already ({job.state})")
        with writing(self._database) as connection:
            connection.execute(update(JobRow).where(JobRow.id == job_id).values(cancel_requested=1))
            state = connection.scalar(select(JobRow.state).where(JobRow.id == job_id))
            if state == "queued":
                self._end(connection, job, "cancelled", error=None, result=None)
            elif state == "running":
                self._say(connection, job_id, "asked to cancel")
        return self.get(job_id)

    def _fenced(self, connection: Connection, job: Job, **values: Any) -> None:
        mine = and_(JobRow.id == job.id, JobRow.fence == job.fence, JobRow.state == "running")
        if connection.execute(update(JobRow).where(mine).values(fence=job.fence, **values)).rowcount != 1:
            raise LeaseLost(f"job '{job.id}' belongs to another runner by now")

    def _end(self, connection: Connection, job: Job, state: str, *, error: Any, result: Any) -> None:
        values = {"state": state, "error": error, "result": result, "finished_at": self._clock(), "lease_until": None}
        connection.execute(update(JobRow).where(JobRow.id == job.id).values(**values))
        self._say(connection, job.id, state if error is None else f"{state}: {error['message']}")

    def _say(self, connection: Connection, job_id: str, message: str) -> None:
        connection.execute(insert(JobEventRow).values(job_id=job_id, at=self._clock(), message=message))


def _job(row: Any) -> Job:
    values = {field: getattr(row, field) for field in Job.__dataclass_fields__}
    return Job(**values | {"cancel_requested": bool(values["cancel_requested"])})
