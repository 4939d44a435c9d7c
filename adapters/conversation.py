"""What is said to a model and what it should answer: messages, and examples made of them.

Knows no file format, no tokenizer and no template; the readers make examples, `prompts.py` renders them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

DOCUMENT = "document"
"""The role of the one message of a row that is plain text; no caller can send it."""

WireMessage = dict[str, Any]
"""A message as the OpenAI wire has it; only `role` and `content` are read here, all else is passed on."""


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str
    """May be empty where an assistant calls tools instead."""
    tool_calls: tuple[WireMessage, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    def wire(self) -> WireMessage:
        more = {"tool_calls": list(self.tool_calls), "tool_call_id": self.tool_call_id, "name": self.name}
        return {"role": self.role, "content": self.content} | {field: value for field, value in more.items() if value}


@dataclass(frozen=True, slots=True)
class Example:
    """One row: a conversation whose last message is the answer to learn or to be scored against."""

    messages: tuple[Message, ...]
    line: int
    """Where it stood in its file, counted from 1."""
    supervised: tuple[int, ...]
    """Indexes of the assistant messages that the loss is taken on."""
    tools: tuple[WireMessage, ...] = ()
    """What the assistant may call."""
    rejected: str | None = None
    """The answer that is not wanted, where the row is a preference."""

    @property
    def is_document(self) -> bool:
        """Text that answers nothing."""
        return self.messages[0].role == DOCUMENT

    @property
    def prompt(self) -> tuple[Message, ...]:
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        """The last message's text; of a message that only calls tools, the calls as JSON."""
        last = self.messages[-1]
        return last.content or json.dumps([call.get("function") for call in last.tool_calls], sort_keys=True)

    @property
    def question(self) -> str:
        """The last thing said before the answer, as plain text."""
        return self.messages[-2].content if len(self.messages) > 1 else ""

    @property
    def prompt_key(self) -> str:
        """Equal for two rows that ask the same thing, spacing and letter case aside; for two documents, that say it."""
        asked = self.messages if self.is_document else self.prompt
        said = [(message.role, " ".join(message.content.lower().split())) for message in asked]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def wire(messages: Sequence[Message]) -> list[WireMessage]:
    return [message.wire() for message in messages]
