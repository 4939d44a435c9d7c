"""A caller's question into the engine's: the model's prompt, its sampling defaults, and nothing the engine must not see.

Fields that Graft does not read pass byte for byte. Knows no engine's address and no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from adapters import prompts
from adapters.adapted_model import AdaptedModel
from adapters.errors import InvalidInput
from adapters.soft_slot import Slot
from gateway.wire.decoding import decode
from gateway.wire.openai import Head, Message, Part

Route = Literal["/v1/chat/completions", "/v1/completions"]

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


@dataclass(frozen=True, slots=True)
class Ask:
    """A question as it came, read only as far as needed."""

    model: str
    stream: bool
    wants_usage: bool
    """The caller asked for a stream's usage event."""
    user: str | None
    """Whom the caller asks for; keeps them on one version while canaries run."""
    fields: dict[str, msgspec.Raw]


def read(body: bytes) -> Ask:
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
    return Ask(head.model, stream, bool(stream and options and options.include_usage), head.user, fields)


def compose(ask: Ask, model: AdaptedModel, route: Route, slot: Slot | None = None) -> bytes:
    """The body to send to the engine. `slot`: that of the model's soft prompt, if it has one.

    Raises InvalidInput that names the field.
    """
    fields: dict[str, Any] = dict(ask.fields)
    fields["model"] = model.asked_as
    if route == "/v1/chat/completions":
        fields["messages"] = _messages(ask, model, slot)
    elif slot is not None:
        raise InvalidInput(
            f"'{model.name}' carries a soft prompt, which stands in the system message: use /v1/chat/completions",
            param="model",
            code="unsupported_endpoint",
        )
    elif model.prompt is not None:
        raise InvalidInput(
            f"'{model.name}' carries a prompt of messages, which a plain completion cannot: use /v1/chat/completions",
            param="model",
            code="unsupported_endpoint",
        )
    for name, value in model.sampling.wire().items():
        if not _given(ask, name):
            fields[name] = value
    if ask.stream and not ask.wants_usage:
        fields["stream_options"] = {"include_usage": True}  # to count; `relay` keeps it from a caller who did not ask
    return msgspec.json.encode(fields)


def _given(ask: Ask, name: str) -> bool:
    names = ("max_tokens", "max_completion_tokens") if name == "max_tokens" else (name,)
    return any(bytes(ask.fields.get(name, b"null")) != b"null" for name in names)


def _messages(ask: Ask, model: AdaptedModel, slot: Slot | None) -> Any:
    raw = ask.fields.get("messages")
    if raw is None:
        raise InvalidInput("the body has no 'messages'", param="messages", code="missing_required_parameter")
    for place, message in enumerate(decode(raw, list[Message], within="messages")):
        if isinstance(message.content, list):
            for number, part in enumerate(message.content):
                _check_part(part, f"messages[{place}].content[{number}]")
    if slot is not None:
        return slot.around(decode(raw, list[dict[str, Any]], within="messages"))
    if model.prompt is None:
        return raw
    return prompts.render(model.prompt, decode(raw, list[dict[str, Any]], within="messages"))


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
