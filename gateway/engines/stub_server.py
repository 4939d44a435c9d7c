"""The stub's HTTP: vLLM's routes, shapes and error bodies, and GET /stub/state for tests to look inside.

Shapes were taken down from vLLM 0.32 over its socket. Knows no model: an answer is a fixed text, a word a token.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from gateway.engines.stub_adapters import Adapters, LoadRefused
from gateway.engines.stub_probe import next_token

FINGERPRINT = "graft-stub"


class Refused(Exception):
    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


class Stub:
    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags = flags
        self.adapters = Adapters(
            base=flags.served_model_name,
            max_loras=flags.max_loras,
            max_rank=flags.max_lora_rank,
            max_cpu_loras=flags.max_cpu_loras,
            load_s=flags.load_ms / 1000,
        )
        self.counts = {"asked": 0, "running": 0, "finished": 0, "aborted": 0, "probed": 0}
        self.last_body = ""
        self.length = max(len(flags.says.split()), len(flags.adapters_say.split()))

    def check(self, body: dict[str, Any], prompt: str) -> tuple[int, int]:
        """(prompt tokens, tokens to answer), or Refused in vLLM's words."""
        name, longest = body.get("model", self.flags.served_model_name), self.flags.max_model_len
        if name != self.flags.served_model_name and name not in self.adapters.folders:
            raise Refused(404, "NotFoundError", f"The model `{name}` does not exist.", "model")
        asked = body.get("max_completion_tokens") or body.get("max_tokens")
        if asked is not None and not isinstance(asked, int):
            raise invalid("max_tokens", "Input should be a valid integer", asked)
        if asked is not None and asked > longest:
            message = f"max_tokens={asked} cannot be greater than max_model_len={longest}. Please request fewer output tokens."
            raise Refused(400, "BadRequestError", f"{message} (parameter=max_tokens, value={asked})", "max_tokens")
        temperature = body.get("temperature")
        if temperature is not None and not isinstance(temperature, int | float):
            raise invalid("temperature", "Input should be a valid number", temperature)
        tokens = len(prompt.split())
        if tokens >= longest:
            message = (
                f"This model's maximum context length is {longest} tokens. However, your prompt contains at least {tokens} "
                "input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the "
                f"input prompt. (parameter=input_tokens, value={tokens})"
            )
            raise Refused(400, "BadRequestError", message, "input_tokens")
        return tokens, min(asked or self.length, longest - tokens)

    def text(self, name: str) -> str:
        """What is answered under this name."""
        is_adapter = name != self.flags.served_model_name
        said: str = self.flags.adapters_say if is_adapter and self.flags.adapters_say else self.flags.says
        return said.replace("{model}", name)

    async def words(self, name: str, count: int) -> AsyncIterator[str]:
        """At most `count` words, at the speed of the flags; the text is said again and again under `ignore_eos`."""
        text = self.text(name).split()
        async with self.adapters.slot(name):
            await asyncio.sleep(self.flags.first_token_ms / 1000)
            for number, word in enumerate(itertools.islice(itertools.cycle(text), count)):
                if number:
                    await asyncio.sleep(self.flags.token_ms / 1000)
                await self.adapters.step()
                yield word if number == 0 else f" {word}"


STATE = web.AppKey("state", Stub)


def invalid(field: str, message: str, value: object) -> Refused:
    detail = {"type": "invalid", "loc": f"body.{field}", "msg": message, "input": value}
    return Refused(400, "Bad Request", f"1 validation error:\n  {detail}", f"body.{field}")


async def chat(request: web.Request) -> web.StreamResponse:
    body = await _body(request)
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise invalid("messages", "Input should be a valid list", messages)
    return await _answer(request, body, " ".join(str(message.get("content")) for message in messages), is_chat=True)


async def completions(request: web.Request) -> web.StreamResponse:
    body = await _body(request)
    if body.get("logprob_token_ids"):
        return _probed(request.app[STATE], body)
    return await _answer(request, body, str(body.get("prompt", "")), is_chat=False)


def _probed(stub: Stub, body: dict[str, Any]) -> web.Response:
    name, watched = str(body.get("model")), body["logprob_token_ids"]
    stub.check(body, "")
    adapter, deaf = (
        stub.adapters.folders.get(name, stub.flags.model),
        bool(stub.flags.deaf_to) and name.startswith(stub.flags.deaf_to),
    )
    choices = [
        {"index": n, "text": "", "finish_reason": "length", "logprobs": next_token(adapter, prompt, watched, deaf=deaf)}
        for n, prompt in enumerate(body["prompt"])
    ]
    stub.counts["probed"] += 1
    reply = {"object": "text_completion", "model": name, "choices": choices}
    return web.Response(text=_compact(reply), content_type="application/json")


async def _body(request: web.Request) -> dict[str, Any]:
    raw = await request.text()
    request.app[STATE].last_body = raw
    try:
        body: dict[str, Any] = json.loads(raw)
    except json.JSONDecodeError as error:
        raise invalid(str(error.pos), "JSON decode error", {}) from error
    return body


async def _answer(request: web.Request, body: dict[str, Any], prompt: str, *, is_chat: bool) -> web.StreamResponse:
    stub = request.app[STATE]
    prompt_tokens, count = stub.check(body, prompt)
    stub.counts["asked"] += 1
    stub.counts["running"] += 1
    try:
        name = str(body.get("model", stub.flags.served_model_name))
        words = stub.words(name, count if body.get("ignore_eos") else min(count, len(stub.text(name).split())))
        reason = "stop" if count >= stub.length and not body.get("ignore_eos") else "length"
        shape = _Shape(name, prompt_tokens, reason, is_chat=is_chat)
        response = await (_stream(request, body, words, shape) if body.get("stream") else _whole(words, shape))
    except (asyncio.CancelledError, ConnectionError):
        stub.counts["aborted"] += 1
        raise
    finally:
        stub.counts["running"] -= 1
    stub.counts["finished"] += 1
    return response


class _Shape:
    """The bodies of one answer, as vLLM words them."""

    def __init__(self, name: str, prompt_tokens: int, reason: str, *, is_chat: bool) -> None:
        self.name, self.prompt_tokens, self.reason, self.is_chat = name, prompt_tokens, reason, is_chat
        self.id = f"{'chatcmpl' if is_chat else 'cmpl'}-{time.monotonic_ns():x}"
        self.created = int(time.time())

    def _head(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.name, "choices": choices}

    def usage(self, tokens: int) -> dict[str, int]:
        total = self.prompt_tokens + tokens
        return {"prompt_tokens": self.prompt_tokens, "total_tokens": total, "completion_tokens": tokens}

    def whole(self, text: str, tokens: int) -> dict[str, Any]:
        said = {"message": {"role": "assistant", "content": text, "refusal": None}} if self.is_chat else {"text": text}
        choice = {"index": 0} | said | {"logprobs": None, "finish_reason": self.reason, "stop_reason": None}
        head = self._head("chat.completion" if self.is_chat else "text_completion", [choice])
        return head | {"system_fingerprint": FINGERPRINT, "usage": self.usage(tokens)}

    def chunk(self, word: str, reason: str | None, role: str | None = None) -> dict[str, Any]:
        delta = {"role": role, "content": word} if role else {"content": word}
        choice = {"index": 0} | ({"delta": delta} if self.is_chat else {"text": word})
        return self._head(self._chunk_kind, [choice | {"logprobs": None, "finish_reason": reason}])

    def last(self, tokens: int) -> dict[str, Any]:
        return self._head(self._chunk_kind, []) | {"usage": self.usage(tokens), "system_fingerprint": FINGERPRINT}

    @property
    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self.is_chat else "text_completion"


async def _whole(words: AsyncIterator[str], shape: _Shape) -> web.Response:
    said = [word async for word in words]
    return web.Response(text=_compact(shape.whole("".join(said), len(said))), content_type="application/json")


async def _stream(request: web.Request, body: dict[str, Any], words: AsyncIterator[str], shape: _Shape) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    count, word = 0, await anext(words)
    if shape.is_chat:  # the role comes with the first word, not before
        await response.write(_event(shape.chunk("", None, role="assistant")))
    async for following in words:
        await response.write(_event(shape.chunk(word, None)))
        count, word = count + 1, following
    await response.write(_event(shape.chunk(word, shape.reason)))
    if (body.get("stream_options") or {}).get("include_usage"):
        await response.write(_event(shape.last(count + 1)))
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def _event(content: dict[str, Any]) -> bytes:
    return f"data: {_compact(content)}\n\n".encode()


def _compact(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))


async def load(request: web.Request) -> web.Response:
    body = await _body(request)
    try:
        await request.app[STATE].adapters.load(body.get("lora_name", ""), body.get("lora_path", ""))
    except LoadRefused as refusal:
        raise Refused(refusal.status, refusal.kind, str(refusal)) from refusal
    return web.Response(text=f"Success: LoRA adapter '{body['lora_name']}' added successfully.")


async def unload(request: web.Request) -> web.Response:
    name = (await _body(request)).get("lora_name", "")
    if not request.app[STATE].adapters.unload(name):
        raise Refused(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
    return web.Response(text=f"Success: LoRA adapter '{name}' removed successfully.")


async def models(request: web.Request) -> web.Response:
    stub = request.app[STATE]
    base, card = stub.flags.served_model_name, {"object": "model", "created": int(time.time()), "owned_by": FINGERPRINT}
    cards = [card | {"id": base, "root": base, "parent": None, "max_model_len": stub.flags.max_model_len}]
    for name, folder in stub.adapters.folders.items():
        cards.append(card | {"id": name, "root": str(folder), "parent": base, "max_model_len": None})
    return web.json_response({"object": "list", "data": cards})


async def health(_: web.Request) -> web.Response:
    return web.Response()


async def state(request: web.Request) -> web.Response:
    stub = request.app[STATE]
    adapters = stub.adapters
    slots = {"running_adapters": dict(adapters.running), "in_memory": list(adapters.in_memory), "reads": dict(adapters.reads)}
    return web.json_response(stub.counts | slots | {"last_body": stub.last_body})


@web.middleware
async def _refusals(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except Refused as refusal:
        return web.Response(text=_compact(refusal.body), status=refusal.status, content_type="application/json")
    return response


def build(flags: argparse.Namespace) -> web.Application:
    app = web.Application(middlewares=[_refusals], client_max_size=1 << 30)
    app[STATE] = Stub(flags)
    app.add_routes(
        [
            web.get("/health", health),
            web.get("/v1/models", models),
            web.post("/v1/chat/completions", chat),
            web.post("/v1/completions", completions),
            web.post("/v1/load_lora_adapter", load),
            web.post("/v1/unload_lora_adapter", unload),
            web.get("/stub/state", state),
        ]
    )
    return app


def serve(flags: argparse.Namespace) -> None:
    """Runs until SIGTERM."""
    time.sleep(flags.start_ms / 1000)  # a slow start, before there is a loop to wait in
    at: dict[str, Any] = {"path": str(flags.uds)} if flags.uds else {"host": "127.0.0.1", "port": flags.port}
    # as vLLM does, a caller who hangs up ends the work
    web.run_app(build(flags), **at, handler_cancellation=True, keepalive_timeout=75, shutdown_timeout=1, print=None)
