"""The OpenAI wire as far as Graft itself reads or writes it; what it only passes on has no shape here."""

from __future__ import annotations

from typing import Literal

import msgspec


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Head(msgspec.Struct):
    """What the gateway must know of a question before it can pass it on."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None


class ImageUrl(msgspec.Struct):
    url: str


class Part(msgspec.Struct):
    """A part of a message's content."""

    type: str
    image_url: ImageUrl | str | None = None


class Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None


class Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class Counted(msgspec.Struct):
    """An answer, or the last event of a stream, as far as counting goes."""

    usage: Usage | None = None


class ErrorDetail(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct):
    error: ErrorDetail


class ModelCard(msgspec.Struct):
    id: str
    created: int
    """Unix seconds."""
    root: str
    """The base that it is made from; a base is its own root."""
    parent: str | None
    max_model_len: int | None
    """Tokens; None for an encoder that has not been asked anything yet."""
    object: Literal["model"] = "model"
    owned_by: str = "graft"


class ModelList(msgspec.Struct):
    data: list[ModelCard]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None
    object: Literal["list"] = "list"


class ModelDeleted(msgspec.Struct):
    id: str
    deleted: bool = True
    object: Literal["model"] = "model"
