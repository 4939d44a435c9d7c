"""An event of an engine's streamed chat, as far as it must be understood to be told in another form. Knows no engine."""

from __future__ import annotations

import msgspec

from gateway.wire import openai


class CalledFunction(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct, frozen=True):
    """A piece of one; the pieces of the same call have the same index."""

    index: int = 0
    function: CalledFunction = CalledFunction()


class Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(msgspec.Struct, frozen=True):
    delta: Delta = Delta()
    finish_reason: str | None = None


class PromptTokens(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class Usage(openai.Usage):
    prompt_tokens_details: PromptTokens | None = None


class Chunk(msgspec.Struct, frozen=True):
    choices: list[Choice] = []
    usage: Usage | None = None
