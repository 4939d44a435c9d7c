"""POST /v1/graft/advice: which method suits this data or these numbers. The answer is `gateway/advising.py`'s."""

from __future__ import annotations

from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.advising import Advising
from gateway.serving.disconnect import while_connected


@post("/v1/graft/advice", status_code=200, summary="Which method suits this data")
async def advice(request: Request[Any, Any, Any], advising: Advising) -> ASGIApp:
    body = await request.body()

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        # a caller who leaves ends the measuring with it
        await while_connected(_answer(advising, body, send), receive)

    return answered


async def _answer(advising: Advising, body: bytes, send: Send) -> None:
    said = await advising.ask(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(said)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said, "more_body": False})


handlers = (advice,)
