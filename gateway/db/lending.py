"""The accelerator, lent to a running job: who wants it, and whether the engines of every living gateway have left it.

A wish counts only while its job's lease does, so a runner that was killed does not keep the engines away. Knows no engine
and no runner.
"""

from __future__ import annotations

import time

from sqlalchemy import Engine, and_, select, update

from gateway.db.database import reading, writing
from gateway.db.models import GatewayRow, JobRow
from gateway.db.retirement import DEAD_AFTER_S


class Lending:
    def __init__(self, database: Engine) -> None:
        self._database = database

    def wanted(self) -> str | None:
        """The id of the running job that wants the accelerator for itself, if there is one."""
        wants = and_(JobRow.state == "running", JobRow.wants_accelerator == 1, JobRow.lease_until >= time.time())
        with reading(self._database) as connection:
            return connection.scalar(select(JobRow.id).where(wants).order_by(JobRow.started_at).limit(1))

    def say(self, gateway: str, aside_for: str | None) -> bool:
        """The gateway's engines have left for this job, or are about to come back. False: the gateway has not beaten yet."""
        with writing(self._database) as connection:
            mine = update(GatewayRow).where(GatewayRow.id == gateway).values(aside_for=aside_for)
            return connection.execute(mine).rowcount == 1

    def is_free_for(self, job_id: str) -> bool:
        """Every gateway that is alive has said that its engines have left for this very job."""
        alive = select(GatewayRow.aside_for).where(GatewayRow.beat_at > time.time() - DEAD_AFTER_S)
        with reading(self._database) as connection:
            return all(aside_for == job_id for aside_for in connection.scalars(alive))
