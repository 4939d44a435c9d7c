"""The queue: jobs as rows, claimed under a lease and fenced, so that no two runners ever write for one job.

States: queued → running → succeeded | failed | cancelled; a job whose runner or process died goes back to queued, and
a paused one waits until somebody resumes it. Knows nothing of what a job does.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, and_, insert, or_, select, tuple_, update

from adapters.errors import Conflict, NotFound
from gateway.db.database import reading, writing
from gateway.db.models import JobEventRow, JobRow
from gateway.jobs.job import Job, JobEvent, LeaseLost

_COLUMNS = [getattr(JobRow, field) for field in Job.__dataclass_fields__]


_NOBODYS = {"lease_owner": None, "lease_until": None, "wants_accelerator": 0}


class JobStore:
    def __init__(self, database: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def submit(
        self, kind: str, payload: dict[str, Any], *, job_id: str | None = None, tenant: str = "default",
        labels: dict[str, str] | None = None, asked: dict[str, Any] | None = None, asked_digest: str | None = None,
    ) -> Job:  # fmt: skip
        """Accepts a job; once this returns, it ends in exactly one final state whatever is killed."""
        job_id = job_id or f"job-{secrets.token_hex(6)}"
        fresh = {
            "state": "queued", "attempt": 0, "fence": 0, "cancel_requested": 0, "pause_requested": 0,
            "tenant": tenant, "labels": labels, "asked": asked, "asked_digest": asked_digest, "created_at": self._clock(),
        }  # fmt: skip
        with writing(self._database) as connection:
            connection.execute(insert(JobRow).values(id=job_id, kind=kind, payload=payload, **fresh))
            self._say(connection, job_id, "accepted")
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        with reading(self._database) as connection:
            row = connection.execute(select(*_COLUMNS).where(JobRow.id == job_id)).one_or_none()
        if row is None:
            raise _unknown(job_id)
        return _job(row)

    def newest(self, limit: int = 50) -> list[Job]:
        with reading(self._database) as connection:
            rows = connection.execute(select(*_COLUMNS).order_by(JobRow.created_at.desc()).limit(limit))
            return [_job(row) for row in rows]

    def asked_for(
        self, tenant: str, *, limit: int, after: str | None = None, labels: dict[str, str] | None = None
    ) -> tuple[list[Job], bool]:
        """The tenant's jobs of the fine-tuning API, newest first, and whether there are more.

        `after` is the id behind which to go on; `labels` are those a job must carry; an empty dict asks for jobs
        that carry none. Raises NotFound for an unknown `after`.
        """
        mine = and_(JobRow.tenant == tenant, JobRow.asked.is_not(None))
        query = select(*_COLUMNS).where(mine).order_by(JobRow.created_at.desc(), JobRow.id.desc())
        if after is not None:
            last = self.get(after)
            query = query.where(tuple_(JobRow.created_at, JobRow.id) < (last.created_at, last.id))
        found: list[Job] = []
        with reading(self._database) as connection:
            for row in connection.execute(query):
                if _carries(row.labels or {}, labels):
                    found.append(_job(row))
                if len(found) > limit:
                    break
        return found[:limit], len(found) > limit

    def of_kind(self, kind: str, *, limit: int, after: str | None = None) -> tuple[list[Job], bool]:
        """Newest first, and whether there are more. `after` is the id behind which to go on; NotFound for an unknown one."""
        query = select(*_COLUMNS).where(JobRow.kind == kind).order_by(JobRow.created_at.desc(), JobRow.id.desc())
        if after is not None:
            last = self.get(after)
            query = query.where(tuple_(JobRow.created_at, JobRow.id) < (last.created_at, last.id))
        with reading(self._database) as connection:
            found = [_job(row) for row in connection.execute(query.limit(limit + 1))]
        return found[:limit], len(found) > limit

    def asked_lately(self, digest: str, *, within_s: float) -> Job | None:
        """The newest job that was made from a request with this digest."""
        lately = and_(JobRow.asked_digest == digest, JobRow.created_at > self._clock() - within_s)
        query = select(*_COLUMNS).where(lately).order_by(JobRow.created_at.desc()).limit(1)
        with reading(self._database) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _job(row)

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
                if job.wish == "cancelled":
                    self._end(connection, job, "cancelled", error=None, result=None)
                    continue
                if job.wish == "paused":
                    self._put(connection, job.id, "paused", pause_requested=0)
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
        """Keeps the lease and tells what has changed (a wish, the device). Raises LeaseLost."""
        with writing(self._database) as connection:
            self._fenced(connection, job, lease_until=self._clock() + lease_s)
        return self.get(job.id)

    def requeue(self, job: Job, reason: str, *, count: bool = True) -> None:
        """Puts the job back. `count=False` where the job did not die but its runner was asked to stop."""
        with writing(self._database) as connection:
            attempt = job.attempt if count else job.attempt - 1
            self._fenced(connection, job, attempt=attempt)
            self._put(connection, job.id, "queued", f"back in the queue: {reason}")

    def park(self, job: Job) -> None:
        """The job's process was ended for a pause: it waits for `resume`, or is queued if that has come already."""
        with writing(self._database) as connection:
            self._fenced(connection, job, attempt=job.attempt - 1)
            is_wanted = connection.scalar(select(JobRow.pause_requested).where(JobRow.id == job.id))
            self._put(connection, job.id, "paused" if is_wanted else "queued", pause_requested=0)

    def want_accelerator(self, job: Job, wants: bool) -> None:
        """Asks the engines to leave the accelerator to this job, or lets them come back. Raises LeaseLost."""
        with writing(self._database) as connection:
            self._fenced(connection, job, wants_accelerator=int(wants))

    def finish(
        self, job: Job, state: str, *, error: dict[str, Any] | None = None, result: dict[str, Any] | None = None
    ) -> None:
        """Ends the job in a final state, once. Raises LeaseLost."""
        with writing(self._database) as connection:
            self._fenced(connection, job)
            self._end(connection, job, state, error=error, result=result)

    # what people do

    def cancel(self, job_id: str) -> Job:
        """Asks for the end of a job. One that waits ends at once, one that runs within ten seconds."""
        with writing(self._database) as connection:
            job = self._unfinished(connection, job_id)
            if job.state != "running" or self._is_abandoned(connection, job_id):
                self._end(connection, job, "cancelled", error=None, result=None)
            elif not job.cancel_requested:
                connection.execute(update(JobRow).where(JobRow.id == job_id).values(cancel_requested=1))
                self._say(connection, job_id, "asked to cancel")
        return self.get(job_id)

    def pause(self, job_id: str) -> Job:
        """Asks for a job to wait: at once if it waits anyway, within ten seconds if it runs. Paused twice is paused."""
        with writing(self._database) as connection:
            job = self._unfinished(connection, job_id)
            if job.cancel_requested:
                raise Conflict(f"job '{job_id}' is being cancelled", param="job")
            if job.state == "queued" or (job.state == "running" and self._is_abandoned(connection, job_id)):
                self._put(connection, job_id, "paused")
            elif job.state == "running" and not job.pause_requested:
                connection.execute(update(JobRow).where(JobRow.id == job_id).values(pause_requested=1))
                self._say(connection, job_id, "asked to pause")
        return self.get(job_id)

    def resume(self, job_id: str) -> Job:
        """Puts a paused job back into the queue, or takes the wish to pause it back. Raises Conflict for any other."""
        with writing(self._database) as connection:
            job = self._unfinished(connection, job_id)
            if job.state == "paused":
                self._put(connection, job_id, "queued", "resumed")
            elif job.pause_requested:
                connection.execute(update(JobRow).where(JobRow.id == job_id).values(pause_requested=0))
                self._say(connection, job_id, "resumed")
            else:
                raise Conflict(f"job '{job_id}' is not paused ({job.state})", param="job")
        return self.get(job_id)

    def _unfinished(self, connection: Connection, job_id: str) -> Job:
        row = connection.execute(select(*_COLUMNS).where(JobRow.id == job_id)).one_or_none()
        if row is None:
            raise _unknown(job_id)
        job = _job(row)
        if job.is_final:
            raise Conflict(f"job '{job_id}' has ended already ({job.state})", param="job")
        return job

    def _is_abandoned(self, connection: Connection, job_id: str) -> bool:
        """Its runner's lease ran out: nobody is there to hear a wish."""
        until = connection.scalar(select(JobRow.lease_until).where(JobRow.id == job_id))
        return until is not None and until < self._clock()

    def _fenced(self, connection: Connection, job: Job, **values: Any) -> None:
        mine = and_(JobRow.id == job.id, JobRow.fence == job.fence, JobRow.state == "running")
        if connection.execute(update(JobRow).where(mine).values(fence=job.fence, **values)).rowcount != 1:
            raise LeaseLost(f"job '{job.id}' belongs to another runner by now")

    def _end(self, connection: Connection, job: Job, state: str, *, error: Any, result: Any) -> None:
        values = {"state": state, "error": error, "result": result, "finished_at": self._clock()} | _NOBODYS
        connection.execute(update(JobRow).where(JobRow.id == job.id).values(**values))
        self._say(connection, job.id, state if error is None else f"{state}: {error['message']}")

    def _put(self, connection: Connection, job_id: str, state: str, said: str | None = None, **values: Any) -> None:
        """Into a state in which nobody owns it."""
        connection.execute(update(JobRow).where(JobRow.id == job_id).values(state=state, **_NOBODYS, **values))
        self._say(connection, job_id, said or state)

    def _say(self, connection: Connection, job_id: str, message: str) -> None:
        connection.execute(insert(JobEventRow).values(job_id=job_id, at=self._clock(), message=message))


def _job(row: Any) -> Job:
    values = {field: getattr(row, field) for field in Job.__dataclass_fields__}
    return Job(**values | {wish: bool(values[wish]) for wish in ("cancel_requested", "pause_requested")})


def _carries(labels: dict[str, str], wanted: dict[str, str] | None) -> bool:
    return wanted is None or (labels.items() >= wanted.items() if wanted else not labels)


def _unknown(job_id: str) -> NotFound:
    shown = job_id if job_id.isprintable() and len(job_id) < 100 else "that id"
    return NotFound(f"there is no job '{shown}'; `graft jobs ls` lists them", param="job")
