"""The process that works through the queue: `python -m gateway.jobs.runner [--until-idle]`.

One runner a home (a file lock says who); a job's own work is a child process, which dies with the runner and is
taken up again from its folder by the next one. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from adapters.errors import GraftError, Unproven
from adapters.registry import Registry
from gateway import children, settings
from gateway.db.database import open_database
from gateway.db.lending import Lending
from gateway.db.names import Names
from gateway.db.retirement import Retirement
from gateway.jobs.job import Job, LeaseLost
from gateway.jobs.store import JobStore
from gateway.jobs.tasks import KINDS, Settled

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Iterator

LOOK_S = 0.5
"""How often an idle runner looks into the queue: another process's insert is nothing one can wait on."""
BEAT_S = 1.0
"""How often a running job's lease is renewed and a wish to cancel is noticed."""
GRACE_S = 30.0
"""What a job gets to write its checkpoint when its runner is asked to stop."""
WISH_GRACE_S = 8.0
"""The same when somebody cancels or pauses: its memory must be free within ten seconds, and goes on from the checkpoint
before where that is too short."""
EX_TEMPFAIL = 75
"""Exit status of a task that was asked to stop and can go on later."""


class Runner:
    def __init__(self, setting: settings.Settings) -> None:
        database = open_database(setting.database_url)
        self._settings = setting
        self._names = Names(database, Registry(setting.models))
        self._retirement = Retirement(database, self._names.registry)
        self._store = JobStore(database)
        self._lending = Lending(database)
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._stopping = asyncio.Event()

    async def work(self, *, until_idle: bool) -> None:
        for what in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(what, self._stopping.set)
        self._tidy()
        while not self._stopping.is_set():
            job = self._store.claim(self._owner, lease_s=self._settings.jobs_lease_s, attempts=self._settings.jobs_attempts)
            if job is not None:
                await self._do(job)
                self._tidy()
            elif until_idle:
                return
            else:
                await self._wait(self._stopping.wait(), LOOK_S)

    def _tidy(self) -> None:
        for task in KINDS.values():
            task.tidy(self._settings, self._names)

    async def _do(self, job: Job) -> None:
        log = log_file(self._settings, job.id)
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("ab") as output:
                status, wish = await self._work_on(job, output)
            await self._settle(job, status, wish, log)
        except LeaseLost as lost:
            print(lost, file=sys.stderr)

    async def _work_on(self, job: Job, output: IO[bytes]) -> tuple[int, str | None]:
        """As `_watch`, with the accelerator to itself where engines would be in its way."""
        if not KINDS[job.kind].takes_accelerator or not engines_leave(self._settings):
            return await self._watch(job, output)
        self._store.want_accelerator(job, True)
        while not self._lending.is_free_for(job.id):
            await self._wait(self._stopping.wait(), LOOK_S)
            wish = self._renewed(job).wish
            if wish or self._stopping.is_set():
                return EX_TEMPFAIL, wish
        ended = await self._watch(job, output)
        self._store.want_accelerator(job, False)  # before the result is published: engines must prove it
        return ended

    async def _watch(self, job: Job, output: IO[bytes]) -> tuple[int, str | None]:
        """Runs the job's process to its end; (exit status, what somebody wanted that ended it)."""
        process = await children.start(KINDS[job.kind].argv(job.payload, self._settings), stdout=output, stderr=output)
        try:
            while True:
                await self._wait(process.wait(), BEAT_S)
                if process.returncode is not None:
                    return process.returncode, None
                wish = self._renewed(job).wish
                if wish or self._stopping.is_set():
                    return await self._end(process, job, WISH_GRACE_S if wish else GRACE_S), wish
        finally:
            if process.returncode is None:  # the lease is lost: what we started must not go on beside its successor
                await children.end(process, grace_s=0.0)

    async def _end(self, process: Process, job: Job, grace_s: float) -> int:
        ending = asyncio.create_task(children.end(process, grace_s=grace_s))
        while not ending.done():
            await self._wait(asyncio.shield(ending), BEAT_S)
            self._renewed(job)
        return ending.result()

    def _renewed(self, job: Job) -> Job:
        return self._store.renew(job, lease_s=self._settings.jobs_lease_s)

    async def _settle(self, job: Job, status: int, wish: str | None, log: Path) -> None:
        if wish == "cancelled":
            self._store.finish(job, "cancelled")
        elif status == 0:
            await self._publish(job)
        elif wish == "paused":
            self._store.park(job)
        elif self._stopping.is_set():
            self._store.requeue(job, "its runner was asked to stop", count=False)
        elif status == 1:
            self._store.finish(job, "failed", error=_failure(job, log))
        else:
            self._store.requeue(job, _how_it_died(status))

    async def _publish(self, job: Job) -> None:
        try:
            settled = KINDS[job.kind].settle(job.payload, self._settings, self._names)
            ended = await self._proof(job, settled)
            if ended is None:
                self._store.finish(job, "succeeded", result=self._told(settled))
        except GraftError as error:
            self._store.finish(job, "failed", error={"code": error.code, "message": error.message, "param": error.param})
        except OSError as error:  # a full disk may have room again by the next attempt
            self._store.requeue(job, f"its result could not be published: {error}")
        else:
            if ended == "cancelled":
                for name, version in settled.awaits:
                    self._names.refuse(name, version, "its job was cancelled")
                self._store.finish(job, "cancelled")
            elif ended == "paused":
                self._store.park(job)
            elif ended == "stopped":
                self._store.requeue(job, "its runner was asked to stop", count=False)

    async def _proof(self, job: Job, settled: Settled) -> str | None:
        """Waits for the gateway's word on the versions that names now want, if a gateway is there to give it.

        Returns what ended the waiting before its time: `cancelled`, `paused` or `stopped`.
        """
        for name, version in settled.awaits:
            while (pointer := self._names.pointer(name)) is not None and pointer.wanted == version:
                if not self._retirement.alive():
                    return None
                if (wish := self._renewed(job).wish) is not None:
                    return wish
                if self._stopping.is_set():
                    return "stopped"
                await self._wait(self._stopping.wait(), LOOK_S)
        return None

    def _told(self, settled: Settled) -> dict[str, Any]:
        """The result with what became of the name. Raises Unproven where it had to answer, and cannot."""
        result, name = settled.result, settled.result["name"]
        if not settled.awaits:
            return result
        pointer = self._names.pointer(name)
        if pointer is not None and pointer.wanted == result["version"]:
            return result | {"reason": "it takes the name over when a gateway runs and has proven it"}
        if pointer is not None and pointer.version == result["version"]:
            return result | {"published": True}
        reason = (pointer and pointer.remark) or f"'{name}' points elsewhere by now"
        if settled.must_answer:
            raise Unproven(reason, param="model")
        return result | {"reason": reason}

    @staticmethod
    async def _wait(what: Any, timeout_s: float) -> None:
        try:
            await asyncio.wait_for(what, timeout_s)
        except TimeoutError:
            return


def engines_leave(setting: settings.Settings) -> bool:
    """Whether engines of this machine end while a job tunes."""
    if setting.engine_when_tuning != "auto":
        return setting.engine_when_tuning == "leave"
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return False
    return listed.returncode == 0 and "GPU" in listed.stdout


def log_file(setting: settings.Settings, job_id: str) -> Path:
    return setting.logs / "jobs" / f"{job_id}.log"


def _failure(job: Job, log: Path) -> dict[str, Any]:
    try:
        reason: dict[str, Any] = json.loads((Path(job.payload["run"]) / "failure.json").read_bytes())
    except (OSError, ValueError):
        return {"code": "job_failed", "message": f"the process ended with status 1; see {log}", "param": None}
    return reason


def _how_it_died(status: int) -> str:
    if status == -signal.SIGKILL:
        return "its process was killed (SIGKILL): by hand, or by the kernel for want of memory"
    if status < 0:
        return f"its process was ended by {signal.Signals(-status).name}"
    if status == EX_TEMPFAIL:
        return "its process was asked to stop"
    return f"its process ended with status {status}"


@contextmanager
def only_runner(home: Path, *, wait: bool) -> Iterator[bool]:
    """Holds the home's runner lock; yields False where another runner holds it and `wait` is false."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "runner.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def main(arguments: list[str]) -> None:
    setting = settings.load()
    until_idle = "--until-idle" in arguments
    with only_runner(setting.storage_home, wait=not until_idle) as alone:
        if alone:
            asyncio.run(Runner(setting).work(until_idle=until_idle))


if __name__ == "__main__":
    main(sys.argv[1:])
