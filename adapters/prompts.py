"""The prompt an adapted model carries, and the one function that puts it around a conversation.

Trainer, scorecard and gateway all call `render`: the prompt that trained is the prompt that serves.
Knows no tokenizer and no chat template; the base's own template turns the result into tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.conversation import WireMessage


@dataclass(frozen=True, slots=True)
class Shot:
    """One worked example shown before the question."""

    user: str
    assistant: str


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """System text and fixed shots; an empty template leaves a conversation as it is."""

    system: str | None = None
    shots: tuple[Shot, ...] = ()


def render(template: PromptTemplate | None, messages: Sequence[WireMessage]) -> list[WireMessage]:
    """Puts the template around the caller's messages, which are passed on untouched.

    Order: system, shots, conversation. Fixed parts come first so that the engine's prefix cache keeps them.
    A caller's own leading system text is kept and follows the template's, a blank line between.
    """
    if template is None or (template.system is None and not template.shots):
        return list(messages)
    said = list(messages)
    system = template.system
    if said and said[0].get("role") in ("system", "developer") and isinstance(said[0].get("content"), str):
        own = said.pop(0)
        system = own["content"] if system is None else f"{system}\n\n{own['content']}"
    rendered: list[WireMessage] = [] if system is None else [{"role": "system", "content": system}]
    for shot in template.shots:
        rendered.append({"role": "user", "content": shot.user})
        rendered.append({"role": "assistant", "content": shot.assistant})
    return rendered + said
