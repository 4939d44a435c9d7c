"""POST /v1/chat/completions and /v1/completions. Thin: the answers are `gateway/serving/answer.py`'s and `advisor.py`'s."""

from __future__ import annotations

from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp

from gateway.serving.advisor import Advisor, AdvisorAnswer, is_asked
from gateway.serving.answer import Answer
from gateway.serving.answering import Serving


@post("/v1/chat/completions", status_code=200, summary="Answer a conversation")
async def chat_completions(request: Request[Any, Any, Any], serving: Serving, advisor: Advisor) -> ASGIApp:
    body = await request.body()
    return AdvisorAnswer(advisor, body) if is_asked(body) else Answer(serving, "/v1/chat/completions", body)


@post("/v1/completions", status_code=200, summary="Continue a text")
async def completions(request: Request[Any, Any, Any], serving: Serving) -> ASGIApp:
    return Answer(serving, "/v1/completions", await request.body())
