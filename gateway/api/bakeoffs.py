"""/v1/graft/bakeoffs: methods played against each other on one's own rows. Thin: the work is `gateway/bakeoff/service.py`'s."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, get, post
from litestar.params import Parameter

from gateway.bakeoff.service import Bakeoffs
from gateway.wire.bakeoffs import Bakeoff, BakeoffList

BAKEOFFS = "/v1/graft/bakeoffs"
Limit = Annotated[int, Parameter(ge=1, le=100)]


@post(BAKEOFFS, status_code=200, summary="Start a bake-off")
async def create_bakeoff(request: Request[Any, Any, Any], bakeoffs: Bakeoffs) -> Bakeoff:
    return await bakeoffs.create(await request.body())


@get(BAKEOFFS, summary="List bake-offs")
async def list_bakeoffs(bakeoffs: Bakeoffs, after: str | None = None, limit: Limit = 20) -> BakeoffList:
    return await bakeoffs.page(after=after, limit=limit)


@get(BAKEOFFS + "/{job_id:str}", summary="One bake-off")
async def get_bakeoff(job_id: str, bakeoffs: Bakeoffs) -> Bakeoff:
    return await bakeoffs.get(job_id)


@post(BAKEOFFS + "/{job_id:str}/cancel", status_code=200, summary="Cancel a bake-off")
async def cancel_bakeoff(job_id: str, bakeoffs: Bakeoffs) -> Bakeoff:
    return await bakeoffs.cancel(job_id)


handlers = (create_bakeoff, list_bakeoffs, get_bakeoff, cancel_bakeoff)
