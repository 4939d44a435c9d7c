"""Stored prompts as HTTP tells of them, and what it asks. No API has a standard for these, so the words are Graft's own."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from adapters.conversation import WireMessage


class NewPrompt(msgspec.Struct, forbid_unknown_fields=True):
    content: str
    """The prompt file, YAML."""
    name: str | None = None
    message: str = ""
    """Why it was made."""


class LabelRequest(msgspec.Struct, forbid_unknown_fields=True):
    version: str | int


class RenderRequest(msgspec.Struct, forbid_unknown_fields=True):
    variables: dict[str, Any] = {}
    version: str | int | None = None
    budget_tokens: int | None = None
    """Most tokens of all messages; examples are dropped to keep to it."""


class InputObject(msgspec.Struct, omit_defaults=True):
    type: str
    required: bool = False
    description: str = ""
    default: Any = None
    max_chars: int | None = None
    enum: list[Any] = []


class PromptObject(msgspec.Struct):
    id: str
    """The name; `prompt: {"id": …}` of a request says it."""
    version: int
    digest: str
    created: str
    """UTC, ISO 8601."""
    message: str
    labels: list[str]
    """Those that point at this version."""
    versions: list[int]
    """All there are of the name."""
    model: str
    description: str
    inputs: dict[str, InputObject]
    content: str | None = None
    """The file; left out of lists."""
    object: Literal["graft.prompt"] = "graft.prompt"


class PromptList(msgspec.Struct):
    data: list[PromptObject]
    """The latest version of each name."""
    object: Literal["list"] = "list"


class RenderedPrompt(msgspec.Struct):
    id: str
    version: int
    messages: list[WireMessage]
    tokens: int
    """Estimated: 3.5 characters to a token."""
    shots: int
    dropped_shots: int
    """Left out for the budget."""
    model: str
    defaults: dict[str, Any]
    """What a request that names the prompt has where it does not say otherwise."""
    object: Literal["graft.prompt.rendered"] = "graft.prompt.rendered"
