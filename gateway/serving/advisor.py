"""The answer of `model="advisor"`: the facts are read out of the conversation, the advice is that of POST /v1/graft/advice.

Plain statements are read here, the rest by a served base; every fact is held to the user's words, and the text is a template's,
so no number of it is a model's. An ASGI application, as every answer is. Knows no HTTP route.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar.types import Receive, Scope, Send

from adapters import bases
from adapters.bases import BaseFacts
from adapters.errors import InvalidInput
from advisor.conversation import reader, replying
from advisor.conversation.claims import Claim, Turn
from gateway.engines.pool import Pool
from gateway.reserved import ADVISOR
from gateway.serving import spoken
from gateway.serving.answering import MODEL_IN_SCOPE, STREAM
from gateway.serving.compose import CHAT, Ask, messages_of, read
from gateway.serving.disconnect import while_connected
from gateway.serving.reading import Reader
from gateway.serving.resolve import Resolver
from gateway.settings import Settings
from gateway.telemetry import Telemetry
from gateway.wire.openai import Head, Usage

LONGEST = 20_000
"""Characters of all that the user said."""
ONLY: dict[str, tuple[Any, ...]] = {
    "n": (1,), "logprobs": (False,), "tools": ([],), "functions": ([],), "tool_choice": ("none", "auto"),
    "response_format": ({"type": "text"},), "structured_outputs": (), "modalities": (["text"],), "audio": (),
}  # fmt: skip
"""What these fields of a chat may say; without them the answer would be another. Sampling changes nothing and is not read."""

_MARK = f'"{ADVISOR}"'.encode()


def is_asked(body: bytes) -> bool:
    """Whether a chat's body names the advisor as its model. Costs one search where it does not."""
    if _MARK not in body:
        return False
    try:
        return msgspec.json.decode(body, type=Head).model == ADVISOR
    except (msgspec.DecodeError, UnicodeDecodeError):  # to be refused by whoever reads it whole
        return False


class Advisor:
    """What every answer of the advisor needs."""

    def __init__(self, settings: Settings, resolver: Resolver, pool: Pool, telemetry: Telemetry) -> None:
        self._settings, self.telemetry = settings, telemetry
        self.reader = Reader(pool, tuple(resolver.bases.values()))

    def reply(self, turns: Sequence[Turn], claims: Sequence[Claim]) -> list[str]:
        """Paragraphs. Reads the disk."""
        name, facts = self._named(turns)
        return replying.reply(turns, claims, facts=facts, base=name)

    def _named(self, turns: Sequence[Turn]) -> tuple[str | None, BaseFacts | None]:
        """The base that the user spoke of last, if its files are at hand."""
        for turn in reversed([turn for turn in turns if turn.is_users]):
            for base in self._settings.bases:
                if re.search(rf"(?<![\w.-]){re.escape(base.name)}(?![\w-])", turn.text, re.IGNORECASE):
                    folder = bases.at_hand(base.model, self._settings.storage_cache)
                    return (base.name, bases.facts(folder)) if folder is not None else (None, None)
        return None, None


class AdvisorAnswer:
    """The answer to one body."""

    def __init__(self, advisor: Advisor, body: bytes) -> None:
        self._advisor, self._body, self._telemetry = advisor, body, advisor.telemetry
        self._started = self._complete = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][MODEL_IN_SCOPE] = ADVISOR
        began = time.monotonic()
        with self._telemetry.inflight.labels(ADVISOR).track_inprogress():
            await while_connected(self._answer(send), receive)
        if self._complete:
            self._telemetry.duration.labels(CHAT, ADVISOR).observe(time.monotonic() - began)
        else:
            self._telemetry.disconnects.labels("mid_answer" if self._started else "before_first_byte").inc()

    async def _answer(self, send: Send) -> None:
        ask = read(self._body)
        _check(ask)
        turns = _turns(ask)
        said = await asyncio.to_thread(reader.read, turns)
        reading = await self._advisor.reader.read(turns, said)
        paragraphs = await asyncio.to_thread(self._advisor.reply, turns, [*said, *reading.claims])
        usage = reading.usage
        self._telemetry.tokens.labels(ADVISOR, "prompt").inc(usage.prompt_tokens)
        self._telemetry.tokens.labels(ADVISOR, "completion").inc(usage.completion_tokens or 0)
        if ask.stream:
            await self._stream(ask, paragraphs, usage, send)
        else:
            await self._send_whole(paragraphs, usage, send)

    async def _send_whole(self, paragraphs: Sequence[str], usage: Usage, send: Send) -> None:
        body = spoken.whole(ADVISOR, {"content": "\n\n".join(paragraphs), "refusal": None}, usage)
        await self._start(send, {"content-type": "application/json", "content-length": str(len(body))})
        self._complete = True
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _stream(self, ask: Ask, paragraphs: Sequence[str], usage: Usage, send: Send) -> None:
        """A paragraph an event."""
        await self._start(send, STREAM)
        deltas = ({"content": text if number == 0 else f"\n\n{text}"} for number, text in enumerate(paragraphs))
        events = list(spoken.events(ADVISOR, deltas, usage if ask.wants_usage else None))
        for event in events[:-1]:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        self._complete = True  # before the caller has it: they may hang up at once
        await send({"type": "http.response.body", "body": events[-1], "more_body": False})

    async def _start(self, send: Send, headers: dict[str, str]) -> None:
        raw = [(name.encode(), value.encode()) for name, value in (headers | {"x-graft-model": ADVISOR}).items()]
        self._started = True
        await send({"type": "http.response.start", "status": 200, "headers": raw})


def _check(ask: Ask) -> None:
    said = {name: msgspec.json.decode(ask.fields[name]) for name in ONLY if name in ask.fields}
    said |= {name: True for name in ask.fields if name.startswith("guided_") and bytes(ask.fields[name]) != b"null"}
    wrong = [name for name, value in said.items() if value is not None and value not in ONLY.get(name, ())]
    wrong += ["graft"] if ask.wish is not None else []
    wrong += ["prompt"] if ask.prompt is not None else []
    for name in wrong:
        raise InvalidInput(
            f"the advisor answers in text, once, from the conversation alone: leave out '{name}'",
            param=name, code="unsupported_parameter",
        )  # fmt: skip


def _turns(ask: Ask) -> list[Turn]:
    """What the user and the advisor said; what a system says is no fact about the task."""
    turns = []
    for place, message in enumerate(messages_of(ask)):
        content, role = message.get("content") or "", message.get("role")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if role == "user" and any(part.get("type") != "text" for part in parts):
            raise InvalidInput(f"messages[{place}]: the advisor reads text only", param=f"messages[{place}].content")
        if role in ("user", "assistant"):
            turns.append(Turn("\n".join(str(part.get("text") or "") for part in parts), is_users=role == "user"))
    if not any(turn.is_users for turn in turns):
        raise InvalidInput("messages: the user says nothing, so there is nothing to advise on", param="messages")
    if sum(len(turn.text) for turn in turns if turn.is_users) > LONGEST:
        raise InvalidInput(
            f"the user says more than the {LONGEST:,} characters that the advisor reads; upload data as a file and use"
            " POST /v1/graft/advice",
            param="messages", code="context_length_exceeded",
        )  # fmt: skip
    return turns
