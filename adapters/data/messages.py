"""A row's messages, checked field by field. Knows no form of rows and no file."""

from __future__ import annotations

import re
from typing import Any

from adapters.conversation import ROLES, Example, Message

CONTROL = re.compile(r"<\|[A-Za-z0-9_]+\|>|<(?:start|end)_of_turn>")
"""Text that chat models read as structure: inside a row it would let the row speak as somebody else."""


class Wrong(Exception):
    """One thing wrong with one row; becomes a DataError where file and line are known."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message, self.field = message, field


def conversation(raw: Any, line: int, within: str = "messages", tools: tuple[dict[str, Any], ...] = ()) -> Example:
    if not isinstance(raw, list) or not raw:
        raise Wrong(f"must be a list of messages, not {'an empty list' if raw == [] else kind(raw)}", within)
    messages: list[Message] = []
    supervised: list[int] = []
    for index, given in enumerate(raw):
        field = f"{within}[{index}]"
        message = _message(given, field)
        messages.append(message)
        if message.tool_calls and not tools:
            raise Wrong("a tool is called and the row offers none; give them in 'tools'", f"{field}.tool_calls")
        if _weight(given, message.role, field) and message.role == "assistant":
            supervised.append(index)
    if messages[-1].role != "assistant":
        raise Wrong(f"the last message must be the assistant's answer, not the {messages[-1].role}'s", within)
    if len(messages) == 1:
        raise Wrong("nothing is asked: a message must stand before the answer", within)
    if not supervised:
        raise Wrong("every assistant message has weight 0, so there is nothing to learn", within)
    return Example(tuple(messages), line, tuple(supervised), tools)


def tools(row: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """The row's tools, each a function with a name. Raises Wrong."""
    offered = row.get("tools") or []
    if not isinstance(offered, list):
        raise Wrong(f"must be a list, not {kind(offered)}", "tools")
    for index, tool in enumerate(offered):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Wrong('must be {"type": "function", "function": {"name": …}}', f"tools[{index}]")
    return tuple(offered)


def _message(given: Any, field: str) -> Message:
    if not isinstance(given, dict):
        raise Wrong(f"a message must be an object, not {kind(given)}", field)
    role = given.get("role")
    if role not in ROLES:
        raise Wrong(f"unknown role {role!r}; use one of {', '.join(ROLES)}", f"{field}.role")
    if "function_call" in given:
        raise Wrong("function_call is the old way of calling tools; write tool_calls", f"{field}.function_call")
    calls = _calls(given, role, field)
    if given.get("content") is None and not calls:
        raise Wrong("it is missing", f"{field}.content")
    content = "" if calls and not given.get("content") else said(given["content"], f"{field}.content")
    return Message(role, content, calls, given.get("tool_call_id"), given.get("name"))


def _calls(given: dict[str, Any], role: str, field: str) -> tuple[dict[str, Any], ...]:
    calls = given.get("tool_calls") or []
    if calls and role != "assistant":
        raise Wrong("only the assistant calls tools", f"{field}.tool_calls")
    if not isinstance(calls, list):
        raise Wrong(f"must be a list, not {kind(calls)}", f"{field}.tool_calls")
    for index, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Wrong('must be {"function": {"name": …, "arguments": …}}', f"{field}.tool_calls[{index}]")
    return tuple(calls)


def _weight(said: dict[str, Any], role: str, field: str) -> int:
    weight = said.get("weight")
    if weight is None:
        return 1
    if role != "assistant" or isinstance(weight, bool) or weight not in (0, 1):
        raise Wrong(f"must be 0 or 1, and only on the assistant's messages, not {weight!r}", f"{field}.weight")
    return int(weight)


def said(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise Wrong(f"must be text, not {kind(value)}; put it in quotes", field)
    if not value.strip():
        raise Wrong("it is empty", field)
    if (control := CONTROL.search(value)) is not None:
        raise Wrong(f"it holds '{control[0]}', which chat models read as structure; take it out or spell it differently", field)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise Wrong("it holds half a surrogate pair, which is no character; write the whole character", field)
    return value


def kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
