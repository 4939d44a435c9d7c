"""Where a soft prompt stands in a conversation: at the start of the system message, in training and in serving alike.

In training a marker stands for every soft token; in serving the engine is handed their embeddings as a part of the
message. Standard library only: the gateway's process reads it. Knows no weights and no engine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.conversation import WireMessage
from adapters.errors import InvalidInput, Unservable
from adapters.prompts import PromptTemplate, Shot, render

MARKER = "<prompt_embeds>"
"""The word with which vLLM itself keeps the place (vllm/renderers/chat_utils.py), and therefore no word for anybody else."""
CONFIG, PAYLOAD = "soft_prompt.json", "soft_prompt.b64"
FORMAT = 1
SEPARATORS = ("", "\n")


@dataclass(frozen=True, slots=True)
class Slot:
    """Everything that is put around a question to a soft prompt."""

    base: str
    """The name the engine knows."""
    template: PromptTemplate | None
    payload: str
    """base64 of what `torch.save` makes of the embeddings, (tokens, hidden): the form vLLM takes."""
    separator: str
    """What the engine puts between the embeddings and the text after them, which is then left out of the text."""
    tokens: int

    def around(self, messages: Sequence[WireMessage], chosen: Sequence[Shot] = ()) -> list[WireMessage]:
        """The messages as they were trained, with the embeddings where the markers stood."""
        system, *rest = render(with_markers(self.template, 1), messages, chosen)
        text = system["content"].removeprefix(MARKER)
        parts: list[dict[str, str]] = [{"type": "prompt_embeds", "data": self.payload}]
        if text:
            parts.append({"type": "text", "text": text.removeprefix(self.separator)})
        return [system | {"content": parts}, *rest]


def with_markers(template: PromptTemplate | None, tokens: int) -> PromptTemplate:
    """The template with so many markers before its system text, or in place of one, which then needs no line of its own."""
    template = template if template is not None else PromptTemplate()
    return replace(template, system=MARKER * tokens + (f"\n{template.system}" if template.system else ""))


def read_slot(folder: Path, base: str, template: PromptTemplate | None) -> Slot:
    """The slot of a soft prompt's folder. Raises Unservable where files are missing, InvalidInput where they are damaged."""
    try:
        said = json.loads((folder / CONFIG).read_bytes())
        payload = (folder / PAYLOAD).read_text("ascii")
        if said["format"] != FORMAT or said["separator"] not in SEPARATORS or not payload:
            raise ValueError(f"format {said['format']}, separator {said['separator']!r}")
        return Slot(base, template, payload, said["separator"], int(said["tokens"]))
    except FileNotFoundError as error:
        raise Unservable(
            f"the soft prompt in {folder.parent.name} has no {Path(error.filename).name}; publish it again", param="model"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"the soft prompt in {folder.parent.name} is damaged ({error}); publish it again", param="model"
        ) from error
