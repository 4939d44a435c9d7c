"""The answer of an adapted model that would rather say nothing than answer without its documents. No engine is asked.

In OpenAI's shapes of a chat; where the caller asked for JSON the sentence stands as a refusal, which clients expect there.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import msgspec

from gateway.serving.compose import Ask, is_shaped

SENTENCE = "I found nothing about this in the documents that I answer from, so I cannot answer it."

_NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def said(ask: Ask) -> dict[str, str | None]:
    """The message's text."""
    return {"content": None, "refusal": SENTENCE} if is_shaped(ask) else {"content": SENTENCE, "refusal": None}


def whole(ask: Ask) -> bytes:
    message = {"role": "assistant"} | said(ask)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return msgspec.json.encode(_head(ask, "chat.completion") | {"choices": [choice], "usage": _NO_USAGE})


def stream(ask: Ask) -> bytes:
    """All events at once, `[DONE]` included."""
    head = _head(ask, "chat.completion.chunk")
    told = {name: text for name, text in said(ask).items() if text is not None}
    chunks: list[dict[str, Any]] = [
        head | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}
        for delta, reason in (({"role": "assistant", "content": ""}, None), (told, None), ({}, "stop"))
    ]
    if ask.wants_usage:
        chunks.append(head | {"choices": [], "usage": _NO_USAGE})
    return b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def _head(ask: Ask, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": ask.model}
