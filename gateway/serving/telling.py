"""An answer told as OpenAI's `/v1/responses` tells it: an object that grows, and the events of its growth, in their order.

Works on chunks that an engine's chat has given; knows no engine, no connection and no HTTP.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from adapters.errors import GraftError
from adapters.retrieval.citations import Cited, cite
from gateway.api.errors import describe
from gateway.serving.gathered import Passage
from gateway.wire.chunks import Chunk, Usage
from gateway.wire.responses import Asked

TEXT, REFUSAL = "output_text", "refusal"
REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an engine stops early, and what the wire calls it."""


class Item:
    """One item of the output while it is told: a message, or the call of a function."""

    def __init__(self, index: int, kind: str, part: str = TEXT, call: int | None = None, name: str = "") -> None:
        self.index, self.kind, self.part, self.call, self.name = index, kind, part, call, name
        self.said: list[str] = []
        self.id = _new_id("msg" if kind == "message" else "fc")
        self.call_id = _new_id("call")

    @property
    def place(self) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index}

    @property
    def part_place(self) -> dict[str, Any]:
        return self.place | {"content_index": 0}

    def content(self, text: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
        if self.part == REFUSAL:
            return {"type": REFUSAL, "refusal": text}
        return {"type": TEXT, "text": text, "annotations": annotations, "logprobs": []}

    def wire(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        if self.kind == "message":
            return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}
        called = {"name": self.name, "arguments": "".join(self.said), "call_id": self.call_id}
        return {"id": self.id, "type": "function_call", "status": status} | called


class Telling:
    """`begin`, `told` for each chunk, `end`; each gives the events it makes. `response` is the object as it stands."""

    def __init__(
        self, asked: Asked, model: str, question: str, passages: tuple[Passage, ...] | None, defaults: dict[str, Any]
    ) -> None:  # fmt: skip
        """`model`: as the caller or their prompt names it. `passages`: None where nothing was searched. `defaults`: sampling
        values that the caller did not give."""
        self._asked, self._question, self._passages = asked, question, passages
        self._sequence = 0
        self._open: Item | None = None
        self._reason: str | None = None
        self.response = _head(asked, model, defaults)

    def begin(self) -> Iterator[bytes]:
        for kind in ("created", "in_progress"):
            yield self._event(f"response.{kind}", response=self.response)
        if self._passages is not None:
            yield from self._searched(self._passages)

    def told(self, chunk: Chunk) -> Iterator[bytes]:
        for choice in chunk.choices:
            if choice.delta.content:
                yield from self._add("message", choice.delta.content)
            for call in choice.delta.tool_calls or ():
                named = call.function.name or ""
                yield from self._add("function_call", call.function.arguments or "", call=call.index, name=named)
            self._reason = choice.finish_reason or self._reason

    def refused(self, text: str, *, part: str) -> Iterator[bytes]:
        """A message that no engine made. `part`: TEXT or REFUSAL."""
        yield from self._add("message", text, part=part)

    def end(self, usage: Usage | None) -> Iterator[bytes]:
        early = REASONS.get(self._reason or "")
        status = "incomplete" if early else "completed"
        if self._open is None and not any(item["type"] in ("message", "function_call") for item in self.response["output"]):
            yield from self._add("message", "")
        yield from self._close(status)
        self.response |= {
            "status": status,
            "completed_at": None if early else int(time.time()),
            "incomplete_details": {"reason": early} if early else None,
            "usage": _usage(usage) if usage is not None else None,
        }
        yield self._event(f"response.{status}", response=self.response)

    def failed(self, error: GraftError) -> bytes:
        """The last event of an answer that broke off."""
        told = msgspec.to_builtins(describe(error).body)["error"]
        # documented are the fields at the top; OpenAI's client raises only where it finds `error`
        return self._event("error", code=told["code"], message=told["message"], param=told["param"], error=told)

    def _searched(self, passages: tuple[Passage, ...]) -> Iterator[bytes]:
        item: dict[str, Any] = {"id": _new_id("fs"), "type": "file_search_call", "queries": [self._question], "results": None}
        place = {"item_id": item["id"], "output_index": 0}
        yield self._event("response.output_item.added", output_index=0, item=item | {"status": "in_progress"})
        for step in ("in_progress", "searching", "completed"):
            yield self._event(f"response.file_search_call.{step}", **place)
        if self._asked.includes_results:
            item["results"] = [_result(passage) for passage in passages]
        self.response["output"].append(item | {"status": "completed"})
        yield self._event("response.output_item.done", output_index=0, item=self.response["output"][0])

    def _add(self, kind: str, text: str, *, part: str = TEXT, call: int | None = None, name: str = "") -> Iterator[bytes]:
        item = self._open
        if item is None or (item.kind, item.call) != (kind, call):
            yield from self._close("completed")
            item = self._open = Item(len(self.response["output"]), kind, part, call, name)
            yield self._event("response.output_item.added", output_index=item.index, item=item.wire("in_progress", []))
            if kind == "message":
                yield self._event("response.content_part.added", **item.part_place, part=item.content("", []))
        if not text:
            return
        item.said.append(text)
        if kind == "function_call":
            yield self._event("response.function_call_arguments.delta", **item.place, delta=text)
        elif part == REFUSAL:
            yield self._event("response.refusal.delta", **item.part_place, delta=text)
        else:
            yield self._event("response.output_text.delta", **item.part_place, delta=text, logprobs=[])

    def _close(self, status: str) -> Iterator[bytes]:
        item, self._open = self._open, None
        if item is None:
            return
        text, parts = "".join(item.said), []
        if item.kind == "function_call":
            yield self._event("response.function_call_arguments.done", **item.place, name=item.name, arguments=text)
        else:
            annotations = [] if item.part == REFUSAL else self._annotations(text)
            for number, annotation in enumerate(annotations):
                told = {"annotation_index": number, "annotation": annotation}
                yield self._event("response.output_text.annotation.added", **item.part_place, **told)
            done = {"refusal": text} if item.part == REFUSAL else {"text": text, "logprobs": []}
            yield self._event(f"response.{item.part}.done", **item.part_place, **done)
            parts = [item.content(text, annotations)]
            yield self._event("response.content_part.done", **item.part_place, part=parts[0])
        self.response["output"].append(item.wire(status, parts))
        yield self._event("response.output_item.done", output_index=item.index, item=self.response["output"][-1])

    def _annotations(self, text: str) -> list[dict[str, Any]]:
        """Which passage says what the answer says; `start` and `end` are characters of the source document."""
        passages = self._passages or ()
        shown = [Cited(passage.text, passage.start) for passage in passages]
        return [
            {
                "type": "file_citation", "index": found.index, "file_id": passages[found.passage_number].file_id,
                "filename": passages[found.passage_number].filename, "start": found.start, "end": found.end,
            }
            for found in (cite(text, shown) if shown else ())
        ]  # fmt: skip

    def _event(self, kind: str, **more: Any) -> bytes:
        told = {"type": kind, "sequence_number": self._sequence} | more
        self._sequence += 1
        return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(told) + b"\n\n"


def _head(asked: Asked, model: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """The response before anything is said."""
    raw, request = asked.raw, asked.request
    said = {name: raw.get(name) for name in ("instructions", "prompt", "max_output_tokens", "user", "safety_identifier")}
    sampling = {name: raw[name] if raw.get(name) is not None else defaults.get(name) for name in ("temperature", "top_p")}
    return said | sampling | {
        "id": _new_id("resp"), "object": "response", "created_at": int(time.time()), "completed_at": None,
        "status": "in_progress", "background": False, "error": None, "incomplete_details": None, "model": model,
        "output": [], "parallel_tool_calls": request.parallel_tool_calls is not False, "previous_response_id": None,
        "store": False, "metadata": request.metadata or {}, "text": raw.get("text") or {"format": {"type": "text"}},
        "tool_choice": raw.get("tool_choice") or "auto", "tools": raw.get("tools") or [], "truncation": "disabled",
        "usage": None,
    }  # fmt: skip


def _result(passage: Passage) -> dict[str, Any]:
    return {
        "file_id": passage.file_id, "filename": passage.filename, "score": passage.score, "text": passage.text,
        "attributes": passage.attributes, "start": passage.start, "end": passage.end,
    }  # fmt: skip


def _usage(usage: Usage) -> dict[str, Any]:
    prompt, completion = usage.prompt_tokens, usage.completion_tokens or 0
    details = usage.prompt_tokens_details
    return {
        "input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion,
        "input_tokens_details": {"cached_tokens": details.cached_tokens or 0 if details else 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip


def _new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(16)}"
