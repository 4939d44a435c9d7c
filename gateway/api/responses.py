"""POST /v1/responses. Thin: the answer is `gateway/serving/responding.py`'s."""

from __future__ import annotations

from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp

from gateway.serving.answering import Serving
from gateway.serving.responding import Respond


@post("/v1/responses", status_code=200, summary="Answer an input, with what documents say about it")
async def create_response(request: Request[Any, Any, Any], serving: Serving) -> ASGIApp:
    return Respond(serving, await request.body())
