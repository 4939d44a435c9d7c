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

WireMessage = dict[str, Any]
"""A message as the OpenAI wire has it; only `role` and `content` are read here, all else is passed on."""


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str

    def wire(self) -> WireMessage:
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class Example:
    """One row: a conversation whose last message is the answer to learn or to be scored against."""

    messages: tuple[Message, ...]
    line: int
    """Where it stood in its file, counted from 1."""
    supervised: tuple[int, ...]
    """Indexes of the assistant messages that the loss is taken on."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        return self.messages[-1].content

    @property
    def question(self) -> str:
        """The last thing said before the answer, as plain text."""
        return self.messages[-2].content if len(self.messages) > 1 else ""

    @property
    def prompt_key(self) -> str:
        """Equal for two rows that ask the same thing, spacing and letter case aside."""
        said = [(message.role, " ".join(message.content.lower().split())) for message in self.prompt]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def wire(messages: Sequence[Message]) -> list[WireMessage]:
    return [message.wire() for message in messages]
