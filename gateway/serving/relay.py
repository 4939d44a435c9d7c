"""From the engine's bytes to the caller's: whole events, under the name the caller used, with an honest end.

Nothing is parsed per event: a few searches for byte strings that cannot stand inside a JSON string, where quotes are
escaped. Knows no route and no metric.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import aiohttp
import msgspec

from adapters.adapted_model import AdaptedModel
from adapters.errors import EngineLost, GraftError, InvalidInput, Unavailable
from gateway.engines.client import read_error
from gateway.serving.compose import Ask
from gateway.wire.openai import Counted, Usage

_LOST = (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, OSError)
_ERROR_EVENT = b'data: {"error"'
_NO_CHOICES = b'"choices":[]'
_DONE = b"data: [DONE]\n\n"
_VALIDATION = re.compile(r"'loc': '(?:body\.)?([^']*)', 'msg': '([^']*)'")


@dataclass(slots=True)
class Tally:
    """What is known of an answer so far."""

    usage: Usage | None = None
    """What the engine counted, once it has said so."""
    complete: bool = False
    """The caller was sent all of it."""


class Renaming:
    """Puts the caller's name for the model where the engine wrote its own."""

    def __init__(self, ask: Ask, model: AdaptedModel) -> None:
        self.said, self.asked_as = ask.model, model.asked_as
        self._theirs = b'"model":' + msgspec.json.encode(model.asked_as)
        self._ours = b'"model":' + msgspec.json.encode(ask.model)

    def body(self, body: bytes) -> bytes:
        return body if self._theirs == self._ours else body.replace(self._theirs, self._ours)

    def text(self, text: str) -> str:
        return text.replace(self.asked_as, self.said)


async def whole(upstream: aiohttp.ClientResponse, renaming: Renaming, tally: Tally) -> bytes:
    """The body of an answer that is no stream. Raises what it means here if it is a refusal, as a stream's may be too."""
    try:
        body = await upstream.read()
    except _LOST as error:
        raise _cut_off() from error
    if upstream.status != 200:
        raise refusal(upstream.status, body, renaming)
    tally.usage = _usage(body)
    return renaming.body(body)


async def events(
    upstream: aiohttp.ClientResponse, renaming: Renaming, tally: Tally, *, wants_usage: bool, idle_timeout_s: float
) -> AsyncGenerator[bytes, None]:
    """The stream's events, whole and as they come, with `data: [DONE]` as the last one.

    Raises EngineLost if the engine breaks off or says that it failed, Unavailable if it falls silent once it has begun.
    """
    clock = asyncio.get_running_loop().time
    deadline, held, done = None, b"", False
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                read = await upstream.content.readany()
        except TimeoutError as error:
            raise Unavailable(f"the engine said nothing for {idle_timeout_s:.0f} s, so the answer was given up") from error
        except _LOST as error:
            raise _cut_off() from error
        if not read:
            break
        if not read.startswith(b":"):  # a comment keeps the line open, it is no sign of progress
            deadline = clock() + idle_timeout_s
        ready, held = _whole_events(held + read)
        if _ERROR_EVENT in ready:
            # the engine ends a failed stream with [DONE], as if it were complete: the caller gets an error instead
            raise _failed(ready[ready.index(_ERROR_EVENT) :], renaming)
        if _NO_CHOICES in ready:
            ready = _counted(ready, tally, wants_usage=wants_usage)
        done = done or ready.endswith(_DONE)  # at the end, where no text of the model can stand
        if ready:
            tally.complete = done  # before the caller has it: they may hang up at once
            yield renaming.body(ready)
    if not done:
        raise _cut_off()


def refusal(status: int, body: bytes, renaming: Renaming) -> GraftError:
    """What an engine's error means to the caller. Its words are kept, its names and paths are not."""
    message, param = read_error(body)
    message = renaming.text(message) or f"the engine answered with status {status}"
    if found := _VALIDATION.search(message):
        param, message = found[1], f"{found[1]}: {found[2]}"
    if status in (400, 422):
        if param == "input_tokens" or "maximum context length" in message:
            return InvalidInput(message, param="messages", code="context_length_exceeded")
        return InvalidInput(message, param=param)
    if status in (404, 503):  # the pool has seen to it that the model is there: the engine has restarted in between
        return EngineLost("the engine is restarting; try again in a moment", retry_after_s=1.0)
    if "EngineCore" in message or "EngineDead" in message:  # its HTTP process is up for a moment longer than its core
        return EngineLost("the engine died of this or another request; try again in a moment")
    return GraftError(f"the engine failed: {message}", code="engine_error")


def _whole_events(read: bytes) -> tuple[bytes, bytes]:
    """What is complete, and the beginning of an event whose end has not come yet."""
    if read.endswith(b"\n\n"):
        return read, b""
    cut = read.rfind(b"\n\n") + 2
    return (read[:cut], read[cut:]) if cut > 1 else (b"", read)


def _counted(read: bytes, tally: Tally, *, wants_usage: bool) -> bytes:
    """Takes the count out of the usage event, and the event itself away from a caller who did not ask for it."""
    kept = []
    for event in read.split(b"\n\n")[:-1]:
        if _NO_CHOICES in event and (usage := _usage(event.removeprefix(b"data: "))) is not None:
            tally.usage = usage
            if not wants_usage:
                continue
        kept.append(event + b"\n\n")
    return b"".join(kept)


def _usage(body: bytes) -> Usage | None:
    try:
        return msgspec.json.decode(body, type=Counted).usage
    except msgspec.DecodeError:
        return None


def _failed(event: bytes, renaming: Renaming) -> EngineLost:
    message, _ = read_error(event.split(b"\n", 1)[0].removeprefix(b"data: "))
    return EngineLost(f"the engine failed in the middle of the answer: {renaming.text(message) or 'it gave no reason'}")


def _cut_off() -> EngineLost:
    return EngineLost("the engine went away in the middle of the answer; what came so far is not complete")
