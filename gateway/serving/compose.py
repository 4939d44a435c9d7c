"""A caller's question into the engine's: the model's prompt, its sampling defaults, and nothing the engine must not see.

Fields that Graft does not read pass byte for byte. Knows no engine's address, no answer, and not how anything was gathered.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from adapters import prompts
from adapters.adapted_model import AdaptedModel
from adapters.conversation import WireMessage
from adapters.errors import InvalidInput
from adapters.soft_slot import Slot
from gateway.serving.gathered import Gathered
from gateway.wire.context import PromptReference, Wish, read_reference, read_wish
from gateway.wire.decoding import decode
from gateway.wire.openai import Head, Message, Part

Route = Literal["/v1/chat/completions", "/v1/completions"]
CHAT: Route = "/v1/chat/completions"

REFUSED = frozenset(
    {
        # replace or steer the template that the model was trained with
        "chat_template", "chat_template_kwargs",
        # reach into the engine's media loading, memory and identity
        "media_io_kwargs", "mm_processor_kwargs", "mm_payload", "return_mm_kwargs", "prompt_embeds",
        "kv_transfer_params", "ec_transfer_params", "vllm_xargs", "data_parallel_rank", "request_id", "session_id",
        # with LoRA on, vLLM 0.32 on a CPU dies of it as soon as two requests share a batch (docs/decisions/0007)
        "prompt_logprobs",
        # choose weights past the model's name
        "lora", "lora_name", "lora_path", "lora_request",
    }
)  # fmt: skip
"""Fields of vLLM's that are not for callers. Refused rather than dropped: an answer without them is another answer."""

PARTS = ("text", "refusal", "image_url", "input_audio")

OURS = frozenset({"graft", "prompt"})
"""Fields of a chat that are read here and that no engine sees."""

SHAPING = ("response_format", "structured_outputs")
"""Fields by which a caller says what an answer looks like; the choices of an adapted model then yield."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question as it came, read only as far as needed."""

    model: str
    """Empty where the stored prompt is to say it."""
    stream: bool
    wants_usage: bool
    """The caller asked for a stream's usage event."""
    user: str | None
    """Whom the caller asks for; keeps them on one version while canaries run."""
    fields: dict[str, msgspec.Raw]
    """All that the engine is to see."""
    wish: Wish | None = None
    """What the caller wants searched."""
    prompt: PromptReference | None = None


def read(body: bytes, route: Route = CHAT) -> Ask:
    """Raises InvalidInput that names the field."""
    head = decode(body, Head)
    fields = decode(body, dict[str, msgspec.Raw])
    for name in REFUSED & fields.keys():
        if bytes(fields.pop(name)) != b"null":
            raise InvalidInput(f"'{name}' is not accepted here; leave it out", param=name, code="unsupported_parameter")
    if all(bytes(fields.get(name, b"null")) not in (b"null", b"false") for name in ("echo", "logprobs")):
        # the same as prompt_logprobs under another name
        raise InvalidInput("'echo' together with 'logprobs' is not accepted here", param="echo", code="unsupported_parameter")
    stream = bool(head.stream)
    options = head.stream_options
    ask = Ask(head.model or "", stream, bool(stream and options and options.include_usage), head.user, fields)
    ask = ask if fields.keys().isdisjoint(OURS) else _with_ours(ask, route)
    if head.model is None and ask.prompt is None:
        raise InvalidInput("the body has no 'model'", param="model", code="missing_required_parameter")
    return ask


def _with_ours(ask: Ask, route: Route) -> Ask:
    """Takes the fields that are Graft's own out of those that the engine sees."""
    wish = reference = None
    if (raw := ask.fields.pop("graft", None)) is not None and (wish := read_wish(raw)) is not None and route != CHAT:
        raise InvalidInput(f"'graft' is for chats: use {CHAT}", param="graft", code="unsupported_endpoint")
    if route == CHAT and (raw := ask.fields.pop("prompt", None)) is not None:
        reference = read_reference(raw)
    return dataclasses.replace(ask, wish=wish, prompt=reference)


def compose(ask: Ask, model: AdaptedModel, route: Route, slot: Slot | None = None, gathered: Gathered | None = None) -> bytes:
    """The body to send to the engine. `slot`: that of the model's soft prompt, if it has one. `gathered`: what stands in
    place of the caller's messages, if anything had to be gathered.

    Raises InvalidInput that names the field.
    """
    fields: dict[str, Any] = dict(ask.fields)
    fields["model"] = model.asked_as
    if route == CHAT:
        fields["messages"] = _messages(ask, model, slot, gathered)
    elif slot is not None:
        raise InvalidInput(
            f"'{model.name}' carries a soft prompt, which stands in the system message: use /v1/chat/completions",
            param="model",
            code="unsupported_endpoint",
        )
    elif model.prompt is not None or model.retrieval is not None:
        raise InvalidInput(
            f"'{model.name}' carries a prompt of messages, which a plain completion cannot: use /v1/chat/completions",
            param="model",
            code="unsupported_endpoint",
        )
    defaults = model.sampling.wire() | (gathered.defaults if gathered is not None else {})
    for name, value in defaults.items():
        if not _given(ask, name):
            fields[name] = value
    if model.sampling.choices and not is_shaped(ask) and "response_format" not in defaults:
        fields["structured_outputs"] = {"choice": list(model.sampling.choices)}
    if ask.stream and not ask.wants_usage:
        fields["stream_options"] = {"include_usage": True}  # to count; `relay` keeps it from a caller who did not ask
    return msgspec.json.encode(fields)


def is_shaped(ask: Ask) -> bool:
    """The caller says what the answer looks like, or names the one tool to be called instead."""
    if bytes(ask.fields.get("tool_choice", b"null")).startswith(b"{"):
        return True
    named = (bytes(raw) for name, raw in ask.fields.items() if name in SHAPING or name.startswith("guided_"))
    return any(raw != b"null" and msgspec.json.decode(raw) != {"type": "text"} for raw in named)


def _given(ask: Ask, name: str) -> bool:
    names = ("max_tokens", "max_completion_tokens") if name == "max_tokens" else (name,)
    return any(bytes(ask.fields.get(name, b"null")) != b"null" for name in names)


def _messages(ask: Ask, model: AdaptedModel, slot: Slot | None, gathered: Gathered | None) -> Any:
    if gathered is None and slot is None and model.prompt is None:
        return _checked(ask)
    messages, chosen = (gathered.messages, gathered.chosen) if gathered is not None else (messages_of(ask), ())
    return slot.around(messages, chosen) if slot is not None else prompts.render(model.prompt, messages, chosen)


def messages_of(ask: Ask) -> list[WireMessage]:
    """The caller's messages. Raises InvalidInput that names the field; none are fine where a prompt is named."""
    if ask.prompt is not None and "messages" not in ask.fields:
        return []
    return decode(_checked(ask), list[dict[str, Any]], within="messages")


def _checked(ask: Ask) -> msgspec.Raw:
    raw = ask.fields.get("messages")
    if raw is None:
        raise InvalidInput("the body has no 'messages'", param="messages", code="missing_required_parameter")
    for place, message in enumerate(decode(raw, list[Message], within="messages")):
        if isinstance(message.content, list):
            for number, part in enumerate(message.content):
                _check_part(part, f"messages[{place}].content[{number}]")
    return raw


def _check_part(part: Part, path: str) -> None:
    if part.type not in PARTS:
        known = ", ".join(PARTS)
        raise InvalidInput(f"{path}: parts of type '{part.type}' are not accepted (accepted: {known})", param=f"{path}.type")
    url = part.image_url if isinstance(part.image_url, str | None) else part.image_url.url
    if url is not None and not url.startswith("data:"):
        raise InvalidInput(
            f"{path}: images are not fetched from elsewhere; send the image itself as a data: URL",
            param=f"{path}.image_url",
        )
