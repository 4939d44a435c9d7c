"""The classifier's HTTP: vLLM's routes and shapes, as far as a label can be an answer.

The answer is the likeliest label, one token long; its probability and those of the other labels stand in `logprobs`.
Knows no head; the desk does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from adapters.errors import GraftError, Unservable
from gateway.engines.classifier_desk import Desk

DESK = web.AppKey("desk", Desk)
FLAGS = web.AppKey("flags", argparse.Namespace)
SENSELESS = ("tools", "functions", "tool_choice", "response_format", "audio", "prediction", "guided_json", "structured_outputs")
"""What a label cannot be asked with."""
MOST_TOP = 20
LEAST_PROBABILITY = 1e-30


class Refused(Exception):
    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "BadRequestError", "param": param, "code": status}}


async def chat(request: web.Request) -> web.StreamResponse:
    body = await _body(request)
    name, text = str(body.get("model", "")), _question(body)
    if name not in request.app[DESK].folders:
        raise Refused(404, f"The model `{name}` does not exist.", "model")
    for field in SENSELESS:
        if body.get(field) not in (None, [], "none", {"type": "text"}):
            raise Refused(400, f"'{name}' answers with a label, so '{field}' cannot be asked of it; leave it out", field)
    if body.get("n") not in (None, 1):
        raise Refused(400, f"'{name}' gives one answer; ask for the others with top_logprobs", "n")
    found = await request.app[DESK].probabilities(name, text)
    answer = _Answer(name, found, body, prompt_tokens=len(text.split()))
    return await answer.stream(request) if body.get("stream") else web.json_response(answer.whole(), dumps=_compact)


def _question(body: dict[str, Any]) -> str:
    """The text of the last message of the user, as the head was trained on."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise Refused(400, "Input should be a valid list", "messages")
    said = [message.get("content") for message in messages if isinstance(message, dict) and message.get("role") == "user"]
    if not said:
        raise Refused(400, "there is no message of the user to give a label to", "messages")
    content = said[-1]
    if isinstance(content, list):
        if any(not isinstance(part, dict) or part.get("type") != "text" for part in content):
            raise Refused(400, "only text can be given a label", "messages")
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str) or not content.strip():
        raise Refused(400, "the message of the user is empty", "messages")
    return content


class _Answer:
    def __init__(self, name: str, found: dict[str, float], body: dict[str, Any], *, prompt_tokens: int) -> None:
        ranked = sorted(found.items(), key=lambda item: -item[1])
        self.label = ranked[0][0]
        self.logprobs = _logprobs(ranked, _top(body)) if body.get("logprobs") else None
        self.usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 1, "total_tokens": prompt_tokens + 1}
        self.wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self.head = {"id": f"chatcmpl-{time.monotonic_ns():x}", "created": int(time.time()), "model": name}

    def whole(self) -> dict[str, Any]:
        message = {"role": "assistant", "content": self.label, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": self.logprobs, "finish_reason": "stop"}
        return self.head | {"object": "chat.completion", "choices": [choice], "usage": self.usage}

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        delta = {"role": "assistant", "content": self.label}
        choice = {"index": 0, "delta": delta, "logprobs": self.logprobs, "finish_reason": None}
        ended = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
        events: list[dict[str, Any]] = [{"choices": [choice]}, {"choices": [ended]}]
        if self.wants_usage:
            events.append({"choices": [], "usage": self.usage})
        for event in events:
            chunk = self.head | {"object": "chat.completion.chunk"} | event
            await response.write(f"data: {_compact(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response


def _compact(content: Any) -> str:
    """As vLLM writes it: the gateway looks for the model's name in bytes."""
    return json.dumps(content, separators=(",", ":"))


def _top(body: dict[str, Any]) -> int:
    asked = body.get("top_logprobs") or 0
    if not isinstance(asked, int) or not 0 <= asked <= MOST_TOP:
        raise Refused(400, f"top_logprobs must be from 0 to {MOST_TOP}, not {asked!r}", "top_logprobs")
    return asked


def _logprobs(ranked: list[tuple[str, float]], top: int) -> dict[str, Any]:
    entries = [
        {"token": label, "logprob": math.log(max(value, LEAST_PROBABILITY)), "bytes": list(label.encode())}
        for label, value in ranked[: max(1, top)]
    ]
    return {"content": [entries[0] | {"top_logprobs": entries[:top]}]}


async def completions(request: web.Request) -> web.Response:
    """Only so that an engine can be felt for a pulse: the backbone is at work when this answers."""
    body = await _body(request)
    flags = request.app[FLAGS]
    if body.get("model") != flags.served_model_name:
        raise Refused(400, "a head gives a label to a conversation: use chat completions", "model")
    choice = {"index": 0, "text": "", "finish_reason": "length", "logprobs": None}
    return web.json_response({"object": "text_completion", "model": flags.served_model_name, "choices": [choice]})


async def load(request: web.Request) -> web.Response:
    from pathlib import Path

    body = await _body(request)
    try:
        await request.app[DESK].load(str(body.get("lora_name")), Path(str(body.get("lora_path"))))
    except GraftError as error:
        raise Refused(400, error.message) from error
    return web.Response(text=f"Success: head '{body['lora_name']}' added successfully.")


async def unload(request: web.Request) -> web.Response:
    name = str((await _body(request)).get("lora_name"))
    if not request.app[DESK].unload(name):
        raise Refused(404, f"The head '{name}' cannot be found.")
    return web.Response(text=f"Success: head '{name}' removed successfully.")


async def models(request: web.Request) -> web.Response:
    base = request.app[FLAGS].served_model_name
    names = [base, *request.app[DESK].folders]
    return web.json_response({"object": "list", "data": [{"id": name, "object": "model", "root": name} for name in names]})


async def health(_: web.Request) -> web.Response:
    return web.Response()


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except json.JSONDecodeError as error:
        raise Refused(400, f"this is not JSON ({error.msg})") from error
    if not isinstance(body, dict):
        raise Refused(400, "the body must be a JSON object")
    return body


@web.middleware
async def _refusals(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except Refused as refusal:
        return web.json_response(refusal.body, status=refusal.status)
    except Unservable as error:
        return web.json_response(Refused(500, error.message).body, status=500)
    return response


async def _working(app: web.Application) -> AsyncIterator[None]:
    work = asyncio.create_task(app[DESK].work(), name="desk")
    yield
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


def build(flags: argparse.Namespace) -> web.Application:
    app = web.Application(middlewares=[_refusals], client_max_size=1 << 26)
    app[FLAGS], app[DESK] = flags, Desk(flags.base_folder)
    app.cleanup_ctx.append(_working)
    app.add_routes(
        [
            web.get("/health", health),
            web.get("/v1/models", models),
            web.post("/v1/chat/completions", chat),
            web.post("/v1/completions", completions),
            web.post("/v1/load_lora_adapter", load),
            web.post("/v1/unload_lora_adapter", unload),
        ]
    )
    return app


def serve(flags: argparse.Namespace) -> None:
    """Runs until SIGTERM."""
    web.run_app(
        build(flags), path=str(flags.uds), handler_cancellation=True, keepalive_timeout=75, shutdown_timeout=1, print=None
    )
