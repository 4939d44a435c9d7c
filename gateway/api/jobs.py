"""GET /v1/graft/jobs/{id}/events: a job's events and its run's metrics as they come, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Request, get
from litestar.response import Stream

from gateway.jobs.following import Following


@get("/v1/graft/jobs/{job_id:str}/events", summary="A job's events and metrics as they come")
async def follow_job(job_id: str, request: Request[Any, Any, Any], following: Following) -> Stream:
    """Ends with the job's final state. `Last-Event-ID` goes on behind what was heard before."""
    lines = await following.begin(job_id, request.headers.get("last-event-id"))

    async def told() -> AsyncIterator[bytes]:
        async for place, said in lines:
            yield b": waiting\n\n" if said is None else b"id: %b\ndata: %b\n\n" % (place.encode(), msgspec.json.encode(said))

    return Stream(told(), media_type="text/event-stream", headers={"cache-control": "no-cache"})


handlers = (follow_job,)
