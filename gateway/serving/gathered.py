"""The nouns of gathering: a passage that was found, and all that was gathered for one question. Knows no store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from adapters.conversation import WireMessage
from adapters.prompts import Shot


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document that is shown before the question."""

    file_id: str
    filename: str
    attributes: dict[str, Any]
    heading: str
    text: str
    start: int
    """With `end`: where the text stands in the document, in characters."""
    end: int
    score: float
    """From 0 to 1."""

    @property
    def label(self) -> str:
        """As the header `x-graft-passages` has it: `file:start-end:score`."""
        return f"{self.file_id}:{self.start}-{self.end}:{self.score:.3f}"


@dataclass(frozen=True, slots=True)
class Gathered:
    messages: list[WireMessage]
    """The caller's, after those of a prompt they named, and with the passages before the question."""
    question: str
    chosen: tuple[Shot, ...] = ()
    """The most suitable last."""
    passages: tuple[Passage, ...] | None = None
    """The best first; None where nothing was searched."""
    is_silent: bool = False
    """Nothing was found, and the adapted model rather says nothing than to answer without."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """Fields that the named prompt sets where the caller does not, as the wire has them; they go before the model's."""

    @property
    def header(self) -> dict[str, str]:
        """Names what was shown, where anything was searched."""
        return {} if self.passages is None else {"x-graft-passages": ", ".join(passage.label for passage in self.passages)}
