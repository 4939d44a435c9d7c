"""The prompt an adapted model carries, and the one function that puts it around a conversation.

Trainer, scorecard and gateway all call `render`: the prompt that trained is the prompt that serves.
Knows no tokenizer and no chat template; the base's own template turns the result into tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapters.conversation import WireMessage


@dataclass(frozen=True, slots=True)
class Shot:
    """One worked example shown before the question."""

    user: str
    assistant: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Shots chosen anew for every question, from a pool that lies in the adapted model's folder."""

    strategy: str
    """A word of `selectors.table.SELECTORS`."""
    k: int
    """Most shots."""
    pool: str
    """sha256 of the pool's rows."""
    seed: int = 0
    max_tokens: int | None = None
    """Most tokens of all chosen shots together, estimated as the pool says; those that suit the question least go first."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """What stands around a conversation; an empty template leaves it as it is."""

    system: str | None = None
    shots: tuple[Shot, ...] = ()
    """Fixed, the same for every question."""
    select: Selection | None = None
    before: str = ""
    """Directly before the question's text, in its message."""
    after: str = ""
    """Directly behind it."""

    @property
    def is_empty(self) -> bool:
        return self == PromptTemplate()


def render(
    template: PromptTemplate | None, messages: Sequence[WireMessage], chosen: Sequence[Shot] = ()
) -> list[WireMessage]:  # fmt: skip
    """Puts the template around the caller's messages; all but the question are passed on untouched.

    `chosen` are the shots that the template's selection found for this question, the most suitable last. Order: system,
    fixed shots, chosen shots, conversation: what is the same for every question comes first, so that the engine's prefix
    cache keeps it. A caller's own leading system text is kept and follows the template's, a blank line between.
    """
    if template is None or (template.is_empty and not chosen):
        return list(messages)
    said = list(messages)
    system = template.system
    if said and said[0].get("role") in ("system", "developer") and isinstance(said[0].get("content"), str):
        own = said.pop(0)
        system = own["content"] if system is None else f"{system}\n\n{own['content']}"
    rendered: list[WireMessage] = [] if system is None else [{"role": "system", "content": system}]
    for shot in (*template.shots, *chosen):
        rendered.append({"role": "user", "content": f"{template.before}{shot.user}{template.after}"})
        rendered.append({"role": "assistant", "content": shot.assistant})
    return rendered + _wrapped(template, said)


def question_of(messages: Sequence[WireMessage]) -> str:
    """The text of the last message of the user, which shots are chosen and documents are searched by; empty without one."""
    said = [message.get("content") for message in messages if message.get("role") == "user"]
    content = said[-1] if said else ""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict) and part.get("type") == "text")
    return content if isinstance(content, str) else ""


def from_json(raw: dict[str, Any]) -> PromptTemplate:
    """The template that `dataclasses.asdict` wrote. Raises TypeError or KeyError for what is none."""
    shots = tuple(Shot(**shot) for shot in raw.get("shots") or ())
    select = Selection(**raw["select"]) if raw.get("select") else None
    return PromptTemplate(**raw | {"shots": shots, "select": select})


def _wrapped(template: PromptTemplate, said: list[WireMessage]) -> list[WireMessage]:
    """The messages with the template's words around every question of the user, as they stood around the shots'."""
    if not template.before and not template.after:
        return said
    return [
        message | {"content": f"{template.before}{message['content']}{template.after}"}
        if message.get("role") == "user" and isinstance(message.get("content"), str)
        else message
        for message in said
    ]
