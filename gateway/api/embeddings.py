"""POST /v1/embeddings, as the `openai` client asks. The vectors are `gateway/retrieval/retriever.py`'s."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp, Receive, Scope, Send

from adapters.errors import NotFound
from gateway.retrieval.retriever import Retriever
from gateway.serving.answering import MODEL_IN_SCOPE
from gateway.serving.disconnect import while_connected
from gateway.telemetry import Telemetry
from gateway.wire.decoding import decode
from gateway.wire.embeddings import EmbeddingsRequest, checked_dimensions, inputs_of, shortened, written

ROUTE = "/v1/embeddings"
BULK_FROM = 16
"""Texts of one request from which others' single texts go first."""


@post(ROUTE, status_code=200, summary="Turn texts into vectors")
async def create_embeddings(request: Request[Any, Any, Any], retriever: Retriever, telemetry: Telemetry) -> ASGIApp:
    began, body = time.monotonic(), await request.body()

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        async def answer() -> None:
            asked = decode(body, EmbeddingsRequest)
            if asked.model != retriever.model_name:
                raise NotFound(
                    f"The model '{asked.model[:200]}' does not exist here, or makes no vectors; '{retriever.model_name}' does",
                    param="model", code="model_not_found",
                )  # fmt: skip
            scope["state"][MODEL_IN_SCOPE] = asked.model
            with telemetry.inflight.labels(asked.model).track_inprogress():
                said = await _encoded(retriever, asked, telemetry)
                headers = [(b"content-type", b"application/json"), (b"content-length", str(len(said)).encode())]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": said, "more_body": False})
            telemetry.duration.labels(ROUTE, asked.model).observe(time.monotonic() - began)

        # a caller who leaves takes along what was not begun
        if not await while_connected(answer(), receive):
            telemetry.disconnects.labels("before_first_byte").inc()

    return answered


async def _encoded(retriever: Retriever, asked: EmbeddingsRequest, telemetry: Telemetry) -> bytes:
    inputs = inputs_of(asked)
    if asked.dimensions is not None:  # told before the work, not after it
        checked_dimensions(asked.dimensions, await retriever.width())
    found = await retriever.encode(inputs, bulk=len(inputs) >= BULK_FROM, cut=asked.truncate_prompt_tokens == -1)
    telemetry.tokens.labels(asked.model, "prompt").inc(found.tokens)
    vectors = shortened(found.vectors, asked.dimensions)
    return await asyncio.to_thread(written, asked.model, vectors, found.tokens, asked.encoding_format)


handlers = (create_embeddings,)
