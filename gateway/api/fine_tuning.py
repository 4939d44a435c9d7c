"""/v1/fine_tuning/jobs as the `openai` client asks. Thin: the work is `gateway/fine_tuning.py`'s."""

from __future__ import annotations

import re
from typing import Annotated, Any

from litestar import Request, get, post
from litestar.params import Parameter

from adapters.errors import InvalidInput
from gateway.fine_tuning import FineTuning
from gateway.wire.fine_tuning import CheckpointList, EventList, FineTuningJob, JobList

JOBS = "/v1/fine_tuning/jobs"
Limit = Annotated[int, Parameter(ge=1, le=100)]

_LABEL = re.compile(r"metadata\[(.*)\]")


@post(JOBS, status_code=200, summary="Create a fine-tuning job")
async def create_job(request: Request[Any, Any, Any], fine_tuning: FineTuning) -> FineTuningJob:
    retries = request.headers.get("x-stainless-retry-count", "0")
    return await fine_tuning.create(await request.body(), is_retry=retries.isdigit() and int(retries) > 0)


@get(JOBS, summary="List fine-tuning jobs")
async def list_jobs(
    request: Request[Any, Any, Any], fine_tuning: FineTuning, after: str | None = None, limit: Limit = 20
) -> JobList:
    return await fine_tuning.page(after=after, limit=limit, labels=_labels(request))


@get(JOBS + "/{job_id:str}", summary="One fine-tuning job")
async def get_job(job_id: str, fine_tuning: FineTuning) -> FineTuningJob:
    return await fine_tuning.get(job_id)


@post(JOBS + "/{job_id:str}/cancel", status_code=200, summary="Cancel a fine-tuning job")
async def cancel_job(job_id: str, fine_tuning: FineTuning) -> FineTuningJob:
    return await fine_tuning.cancel(job_id)


@post(JOBS + "/{job_id:str}/pause", status_code=200, summary="Pause a fine-tuning job")
async def pause_job(job_id: str, fine_tuning: FineTuning) -> FineTuningJob:
    return await fine_tuning.pause(job_id)


@post(JOBS + "/{job_id:str}/resume", status_code=200, summary="Resume a paused fine-tuning job")
async def resume_job(job_id: str, fine_tuning: FineTuning) -> FineTuningJob:
    return await fine_tuning.resume(job_id)


@get(JOBS + "/{job_id:str}/events", summary="What happened to a fine-tuning job")
async def list_events(job_id: str, fine_tuning: FineTuning, after: str | None = None, limit: Limit = 20) -> EventList:
    return await fine_tuning.events(job_id, after=after, limit=limit)


@get(JOBS + "/{job_id:str}/checkpoints", summary="The checkpoints of a fine-tuning job")
async def list_checkpoints(job_id: str, fine_tuning: FineTuning, after: str | None = None, limit: Limit = 10) -> CheckpointList:
    return await fine_tuning.checkpoints(job_id, after=after, limit=limit)


def _labels(request: Request[Any, Any, Any]) -> dict[str, str] | None:
    """Of `metadata[k]=v`, as often as it stands there; empty for `metadata=null`, None where nothing is said."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name == "metadata":
            if value != "null":
                raise InvalidInput("filter by metadata[key]=value, or by metadata=null for jobs without any", param="metadata")
            return {}
        if label := _LABEL.fullmatch(name):
            found[label[1]] = value
    return found or None


handlers = (create_job, list_jobs, get_job, cancel_job, pause_job, resume_job, list_events, list_checkpoints)
