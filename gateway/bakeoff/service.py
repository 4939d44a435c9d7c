"""The service behind /v1/graft/bakeoffs: what each route does, in terms of files, stores and the queue.

Everything that blocks does so in a thread. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from adapters import bases
from adapters.errors import Conflict, InvalidInput, NotFound
from gateway.bakeoff.ordering import KIND, Order, submit
from gateway.files import CHECKED, FileStore
from gateway.jobs import metrics
from gateway.jobs.job import Job
from gateway.jobs.store import JobStore
from gateway.settings import Settings
from gateway.stores.filling import held
from gateway.wire.bakeoffs import Bakeoff, BakeoffError, BakeoffList, CreateBakeoff
from gateway.wire.decoding import decode


class Bakeoffs:
    def __init__(self, settings: Settings, jobs: JobStore, files: FileStore) -> None:
        self._settings, self._jobs, self._files = settings, jobs, files

    async def create(self, body: bytes) -> Bakeoff:
        """Raises InvalidInput that names the field, NotFound for an unknown base."""
        request = decode(body, CreateBakeoff)
        return await asyncio.to_thread(lambda: _shown(submit(self._settings, self._jobs, self._order(request))))

    async def get(self, job_id: str) -> Bakeoff:
        return await asyncio.to_thread(lambda: _shown(self._job(job_id)))

    async def page(self, *, after: str | None, limit: int) -> BakeoffList:
        """Newest first."""

        def found() -> BakeoffList:
            if after is not None:
                self._job(after)
            jobs, more = self._jobs.of_kind(KIND, limit=limit, after=after)
            return BakeoffList([_shown(job) for job in jobs], more)

        return await asyncio.to_thread(found)

    async def cancel(self, job_id: str) -> Bakeoff:
        """One that runs ends within ten seconds. Raises InvalidInput for one that had ended before."""

        def cancelled() -> Bakeoff:
            try:
                return _shown(self._jobs.cancel(self._job(job_id).id))
            except Conflict as refused:  # a 400: clients try a 409 again, and it would be as wrong as before
                raise InvalidInput(refused.message, param="bakeoff", code="invalid_job_state") from refused

        return await asyncio.to_thread(cancelled)

    def _order(self, request: CreateBakeoff) -> Order:
        known = {base.name: base for base in self._settings.bases}
        base = known.get(request.base or self._settings.bases[0].name)
        if base is None:
            message = f"'{request.base}' is no base of this gateway (bases: {', '.join(known)})"
            raise NotFound(message, param="base", code="model_not_found")
        try:
            file = self._files.get(request.training_file)
        except NotFound as unknown:
            message = f"No such File object: {request.training_file}; upload it with POST /v1/files"
            raise InvalidInput(message, param="training_file") from unknown
        if file.purpose != CHECKED:
            message = f"'{file.id}' was uploaded as {file.purpose}; upload it with purpose {CHECKED}"
            raise InvalidInput(message, param="training_file")
        return Order(
            data=self._files.content(file.id), name=request.name, base=base.name,
            base_folder=bases.locate(base.model, self._settings.storage_cache, name=base.name).folder,
            methods=request.methods or (), budget_s=request.budget_s, profile=request.profile, publish=request.publish,
            documents=held(self._settings, request.store) if request.store else None, data_name=file.filename,
        )  # fmt: skip

    def _job(self, job_id: str) -> Job:
        try:
            job = self._jobs.get(job_id)
        except NotFound:
            job = None
        if job is None or job.kind != KIND:
            raise NotFound(f"there is no bake-off '{job_id[:100]}'", param="bakeoff")
        return job


def _shown(job: Job) -> Bakeoff:
    error = job.error and BakeoffError(job.error["code"], job.error["message"], job.error.get("param"))
    return Bakeoff(
        id=job.id, created_at=int(job.created_at), finished_at=None if job.finished_at is None else int(job.finished_at),
        status=job.state, name=job.payload["name"], progress=None if job.is_final else _progress(job), result=job.result,
        error=error or None,
    )  # fmt: skip


def _progress(job: Job) -> dict[str, object] | None:
    said = next((one for one in reversed(metrics.read(Path(job.payload["run"]))) if one["event"] == "arm"), None)
    return said and {name: said[name] for name in ("arm", "rows", "seed", "stage", "share")}
