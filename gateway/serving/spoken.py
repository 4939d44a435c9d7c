"""An answer that no engine wrote, in OpenAI's shapes of a chat: whole, or as the events of a stream. Knows no question."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from gateway.wire.openai import Usage


def whole(model: str, message: dict[str, str | None], usage: Usage) -> bytes:
    """`message`: its `content`, or its `refusal`."""
    choice = {"index": 0, "message": {"role": "assistant"} | message, "logprobs": None, "finish_reason": "stop"}
    return msgspec.json.encode(_head(model, "chat.completion") | {"choices": [choice], "usage": _counted(usage)})


def events(model: str, deltas: Iterable[dict[str, str]], usage: Usage | None) -> Iterator[bytes]:
    """`data: [DONE]` included. `usage`: None for a caller who did not ask for it."""
    head = _head(model, "chat.completion.chunk")
    said: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
    for delta, reason in (*said, *((delta, None) for delta in deltas), ({}, "stop")):
        yield _event(head | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]})
    if usage is not None:
        yield _event(head | {"choices": [], "usage": _counted(usage)})
    yield b"data: [DONE]\n\n"


def _head(model: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": model}


def _counted(usage: Usage) -> dict[str, int]:
    prompt, completion = usage.prompt_tokens, usage.completion_tokens or 0
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(content) + b"\n\n"
