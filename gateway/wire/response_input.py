"""A request to `/v1/responses` said as a chat, which is what engines know: items become messages, formats keep their schema.

Items of an earlier response's output can be sent back as they came. Knows no engine.
"""

from __future__ import annotations

from typing import Any

import msgspec

from adapters.conversation import WireMessage
from adapters.errors import InvalidInput
from gateway.wire.responses import NOT_STORED, Asked, Format, Function

ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
"""And what chat templates call them."""
TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
"""Parts that are text, and the field that holds it."""


def as_chat(asked: Asked) -> bytes:
    """The body of the same question as a chat, streamed with its usage. Raises InvalidInput that names the item."""
    request = asked.request
    given: dict[str, Any] = {
        "prompt": request.prompt,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_completion_tokens": request.max_output_tokens,
        "user": request.user or request.safety_identifier,
        "response_format": _response_format(request.text.format if request.text is not None else None),
    }
    if asked.functions:
        given["tools"] = [_tool(function) for function in asked.functions]
        given["tool_choice"] = _tool_choice(asked)
        given["parallel_tool_calls"] = request.parallel_tool_calls
    told = {"model": request.model, "stream": True, "stream_options": {"include_usage": True}}
    body = told | {name: value for name, value in given.items() if value is not None} | {"messages": messages(asked)}
    return msgspec.json.encode(body)


def messages(asked: Asked) -> list[WireMessage]:
    """The conversation, with all that is said to the model before it begins in one system message."""
    said = asked.request.input
    items: list[dict[str, Any]] = [{"role": "user", "content": said}] if isinstance(said, str) else said or []
    told: list[WireMessage] = []
    for place, item in enumerate(items):
        _add(told, item, f"input[{place}]")
    instructions = [asked.request.instructions] if asked.request.instructions else []
    while told and told[0]["role"] == "system":
        instructions.append(told.pop(0)["content"])
    return [{"role": "system", "content": "\n\n".join(instructions)}, *told] if instructions else told


def _add(told: list[WireMessage], item: dict[str, Any], path: str) -> None:
    kind = item.get("type", "message")
    if kind == "message":
        role = item.get("role")
        if role not in ROLES:
            raise InvalidInput(f"{path}.role must be one of {', '.join(ROLES)}", param=f"{path}.role")
        told.append({"role": ROLES[role], "content": _text(item.get("content"), f"{path}.content")})
    elif kind == "function_call":
        function = {"name": _word(item, "name", path), "arguments": _word(item, "arguments", path)}
        call = {"id": _word(item, "call_id", path), "type": "function", "function": function}
        if not (told and "tool_calls" in told[-1]):
            told.append({"role": "assistant", "content": None, "tool_calls": []})
        told[-1]["tool_calls"].append(call)  # calls that were made together stand in one message
    elif kind == "function_call_output":
        content = _text(item.get("output"), f"{path}.output")
        told.append({"role": "tool", "tool_call_id": _word(item, "call_id", path), "content": content})
    elif kind == "item_reference":
        raise InvalidInput(f"{path}: {NOT_STORED}", param=path, code="unsupported_parameter")
    elif kind != "file_search_call":  # that one says what was searched before; the question now is searched anew
        raise InvalidInput(
            f"{path}: items of type '{str(kind)[:50]}' are not accepted (accepted: message, function_call, "
            "function_call_output, file_search_call)",
            param=f"{path}.type", code="unsupported_parameter",
        )  # fmt: skip


def _text(content: Any, path: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidInput(f"{path} must be a text or a list of parts", param=path)
    said = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get(TEXTS[kind]) if kind in TEXTS else None
        if not isinstance(text, str):
            known = ", ".join(TEXTS)
            raise InvalidInput(
                f"{path}[{number}]: parts of type '{str(kind)[:50]}' are not accepted here (accepted: {known}, each with its "
                "text); images go to /v1/chat/completions",
                param=f"{path}[{number}]",
            )
        said.append(text)
    return "".join(said)


def _word(item: dict[str, Any], name: str, path: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise InvalidInput(f"{path}.{name} must be a text", param=f"{path}.{name}")
    return value


def _response_format(wanted: Format | None) -> dict[str, Any] | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "json_object"}
    if wanted.schema is None or not wanted.name:
        raise InvalidInput("text.format needs a 'name' and a 'schema'", param="text.format", code="missing_required_parameter")
    given = {"name": wanted.name, "schema": wanted.schema, "strict": wanted.strict, "description": wanted.description}
    return {"type": "json_schema", "json_schema": {name: value for name, value in given.items() if value is not None}}


def _tool(function: Function) -> dict[str, Any]:
    given = {
        "name": function.name, "description": function.description, "parameters": function.parameters,
        "strict": function.strict,
    }  # fmt: skip
    return {"type": "function", "function": {name: value for name, value in given.items() if value is not None}}


def _tool_choice(asked: Asked) -> str | dict[str, Any] | None:
    choice = asked.request.tool_choice
    if choice == "required" and asked.file_search is not None:
        return "auto"  # the search is a tool that has been used
    if choice is None or isinstance(choice, str):
        return choice
    if choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return "auto"
