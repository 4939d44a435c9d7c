"""The fine-tuning API's service: what each of its routes does, in terms of files, runs, the queue and names.

One instance a gateway, created inside its event loop; everything that blocks does so in a thread. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

from adapters import bases
from adapters.errors import Conflict, InvalidInput, NotFound
from adapters.tuning.recipe import to_json
from gateway import tuning
from gateway.db.names import Names
from gateway.files import CHECKED, FileStore, StoredFile
from gateway.jobs import metrics
from gateway.jobs.history import history
from gateway.jobs.job import Job
from gateway.jobs.order import Wishes, model_name, wishes
from gateway.jobs.shown import shown, shown_checkpoints, shown_event
from gateway.jobs.store import JobStore
from gateway.settings import BaseSetting, Settings
from gateway.stores.filling import Filled, held
from gateway.wire.decoding import decode
from gateway.wire.fine_tuning import Checkpoint, CheckpointList, CreateJob, Event, EventList, FineTuningJob, JobList

TENANT = "default"
"""Whose every job is, as long as there is one key for all."""
SAME_REQUEST_S = 600.0
"""A request that says it is sent again is the same as an equal one that came no longer ago than this: the client's own
time limit."""
HEARD_S = 10.0
"""By then a runner has heard a wish and the job's memory is free (see `gateway/jobs/runner.py`)."""
LOOK_S = 0.1

Item = TypeVar("Item", Event, Checkpoint)


class FineTuning:
    def __init__(self, settings: Settings, names: Names, jobs: JobStore, files: FileStore) -> None:
        self._settings, self._names, self._jobs, self._files = settings, names, jobs, files
        self._creating: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(self, body: bytes, *, is_retry: bool) -> FineTuningJob:
        """Accepts a job. `is_retry`: the client says that it has sent this before, and then gets what it made then.

        Raises InvalidInput that names the field, NotFound for an unknown base.
        """
        request = decode(body, CreateJob)
        digest = hashlib.sha256(TENANT.encode() + b"\0" + body).hexdigest()
        turn = self._creating.setdefault(digest, asyncio.Lock())
        async with turn:  # a retry may come while the first try is still at work
            return await asyncio.to_thread(self._made_or_accepted, request, digest, is_retry)

    async def get(self, job_id: str) -> FineTuningJob:
        return await asyncio.to_thread(lambda: self._shown(self._job(job_id)))

    async def page(self, *, after: str | None, limit: int, labels: dict[str, str] | None) -> JobList:
        """Newest first; `labels` are those a job must carry, an empty dict asks for jobs without any."""

        def found() -> JobList:
            if after is not None:
                self._job(after, param="after")
            jobs, more = self._jobs.asked_for(TENANT, limit=limit, after=after, labels=labels)
            return JobList([self._shown(job) for job in jobs], more)

        return await asyncio.to_thread(found)

    async def cancel(self, job_id: str) -> FineTuningJob:
        """Returns once the job has ended, or after ten seconds. Raises InvalidInput for one that had ended before."""
        return await self._wished(self._jobs.cancel, job_id, until=lambda job: job.is_final)

    async def pause(self, job_id: str) -> FineTuningJob:
        """Returns once the job's memory is free, or after ten seconds."""
        return await self._wished(self._jobs.pause, job_id, until=lambda job: not job.pause_requested)

    async def resume(self, job_id: str) -> FineTuningJob:
        return await self._wished(self._jobs.resume, job_id, until=lambda job: True)

    async def events(self, job_id: str, *, after: str | None, limit: int) -> EventList:
        """Newest first."""

        def found() -> EventList:
            job = self._job(job_id)
            happened = history(job, self._jobs.events(job.id), metrics.read(_run(job)))
            return EventList(*_page([shown_event(happening) for happening in reversed(happened)], after, limit))

        return await asyncio.to_thread(found)

    async def checkpoints(self, job_id: str, *, after: str | None, limit: int) -> CheckpointList:
        """Newest first."""

        def found() -> CheckpointList:
            job = self._job(job_id)
            data, more = _page(shown_checkpoints(job, metrics.read(_run(job))), after, limit)
            return CheckpointList(data, more, data[0].id if data else None, data[-1].id if data else None)

        return await asyncio.to_thread(found)

    def _made_or_accepted(self, request: CreateJob, digest: str, is_retry: bool) -> FineTuningJob:
        made = self._jobs.asked_lately(digest, within_s=SAME_REQUEST_S) if is_retry else None
        return self._shown(made or self._accept(request, digest))

    def _accept(self, request: CreateJob, digest: str) -> Job:
        wanted = wishes(request)
        base = self._base(request.model)
        training = self._file(request.training_file, "training_file")
        validation = self._file(request.validation_file, "validation_file") if request.validation_file else None
        job_id = f"ftjob-{secrets.token_hex(12)}"
        documents = self._documents(wanted.store) if wanted.store else None
        order = tuning.Order(
            data=self._files.content(training.id), name=model_name(base.name, TENANT, request.suffix, job_id), base=base.name,
            base_folder=bases.locate(base.model, self._settings.storage_cache, name=base.name).folder, method=wanted.method,
            knobs=wanted.knobs, rate_multiplier=wanted.rate_multiplier or 1.0, template=wanted.template,
            validation=self._files.content(validation.id) if validation else None, publish=wanted.publish,
            data_name=training.filename, validation_name=validation.filename if validation else "", documents=documents,
        )  # fmt: skip
        try:
            recipe = tuning.place(self._settings, order, job_id).recipe
        except InvalidInput as wrong:
            raise _as_written(wrong, wanted) from wrong
        numbers = wanted.hyperparameters(recipe)
        asked = {
            "model": request.model, "training_file": training.id, "validation_file": request.validation_file,
            "suffix": request.suffix, "hyperparameters": numbers, "recipe": to_json(recipe),
            "method": {"type": wanted.type, wanted.type: {"hyperparameters": numbers}},
        }  # fmt: skip
        payload = tuning.payload(self._settings, order, job_id) | {
            "must_answer": wanted.publish == "always", "result_file": f"{job_id}-results.csv",
        }  # fmt: skip
        return self._jobs.submit(
            "tune", payload, job_id=job_id, tenant=TENANT, labels=request.metadata or None, asked=asked, asked_digest=digest
        )

    def _documents(self, store: str) -> Filled:
        try:
            return held(self._settings, store)
        except (NotFound, InvalidInput) as wrong:
            raise type(wrong)(wrong.message, param="graft.store") from wrong

    def _base(self, model: str) -> BaseSetting:
        known = {base.name: base for base in self._settings.bases}
        if model in known:
            return known[model]
        listed = ", ".join(known)
        if self._names.pointer(model) is not None:
            raise InvalidInput(
                f"'{model}' is an adapted model, and tuning on from one is not supported; name its base (one of {listed}) "
                "and train on the rows of both",
                param="model",
            )
        raise NotFound(
            f"The model '{model}' does not exist; bases that can be tuned: {listed}", param="model", code="model_not_found"
        )

    def _file(self, file_id: str, param: str) -> StoredFile:
        try:
            file = self._files.get(file_id)
        except NotFound as unknown:
            raise InvalidInput(f"No such File object: {file_id}; upload it with POST /v1/files", param=param) from unknown
        if file.purpose != CHECKED:
            raise InvalidInput(f"'{file.id}' was uploaded as {file.purpose}; upload it with purpose {CHECKED}", param=param)
        return file

    def _job(self, job_id: str, param: str = "fine_tune_id") -> Job:
        try:
            job = self._jobs.get(job_id)
        except NotFound:
            job = None
        if job is None or job.asked is None or job.tenant != TENANT:
            raise NotFound(f"Could not find fine tune: {job_id[:100]}", param=param, code="fine_tune_not_found")
        return job

    def _shown(self, job: Job) -> FineTuningJob:
        answers = bool(job.result and job.result["published"])
        if job.result and not answers and job.result["version"] is not None:  # a gateway may have proven it since
            pointer = self._names.pointer(job.payload["name"])
            answers = pointer is not None and pointer.version is not None
        return shown(job, answers=answers)

    async def _wished(self, wish: Callable[[str], Job], job_id: str, *, until: Callable[[Job], bool]) -> FineTuningJob:
        job = await asyncio.to_thread(self._job, job_id)
        try:
            job = await asyncio.to_thread(wish, job.id)
        except Conflict as refused:  # a 400: clients try a 409 again, and it would be as wrong as before
            raise InvalidInput(refused.message, param="fine_tune_id", code="invalid_job_state") from refused
        deadline = asyncio.get_running_loop().time() + HEARD_S
        while not until(job) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(LOOK_S)  # the runner, another process, writes it into the database
            job = await asyncio.to_thread(self._jobs.get, job_id)
        return await asyncio.to_thread(self._shown, job)


def _run(job: Job) -> Path:
    return Path(job.payload["run"])


def _page(items: Sequence[Item], after: str | None, limit: int) -> tuple[list[Item], bool]:
    start = 0
    if after is not None:
        start = next((number + 1 for number, item in enumerate(items) if item.id == after), -1)
        if start < 0:
            raise NotFound(f"there is nothing with the id '{after[:100]}' to go on behind", param="after")
    return list(items[start : start + limit]), start + limit < len(items)


def _as_written(wrong: InvalidInput, wanted: Wishes) -> InvalidInput:
    """The same error, its field named as the caller wrote it."""
    named = {"name": "suffix", "method": "graft.method", "objective": "method.type"} | dict(wanted.written)
    param = named.get(wrong.param or "", wrong.param)
    return InvalidInput(wrong.message, param=param, code=wrong.code)
