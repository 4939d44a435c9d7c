"""Of methods whose weights learn to read what is found: how it is found is chosen first, and then the rows get it.

    <run>/contexts.json   the last question of every row, as it is learned from or asked

Knows no passage.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from adapters.conversation import Example
from adapters.data.dataset import Splits
from adapters.errors import Conflict, InvalidInput
from adapters.methods.contract import Fitted
from adapters.methods.table import method
from adapters.registry import write_whole
from adapters.tuning.choosing import ChoosingMaking
from adapters.tuning.material import Material
from adapters.tuning.progress import Progress

CONTEXTS = "contexts.json"
PARTS = ("train", "validation", "held_out")


def taught(material: Material, parts: Splits, progress: Progress) -> tuple[Fitted, Splits]:
    """What was chosen, and the rows with it. Both are read where they were made before; no model is left in memory."""
    chooser = _Chooser(material, progress)
    fitted, file = chooser.choose(), progress.folder / CONTEXTS
    if not file.is_file():
        made = chooser.taught(fitted, parts)
        write_whole(file, json.dumps({part: [_question(row) for row in getattr(made, part)] for part in PARTS}))
    chooser.leave()
    return fitted, with_contexts(progress.folder, parts)


def with_contexts(run: Path, parts: Splits) -> Splits:
    """The rows as `taught` left them; as they are where it left nothing."""
    file = run / CONTEXTS
    if not file.is_file():
        return parts
    said: dict[str, list[str]] = json.loads(file.read_bytes())
    return Splits(*(_asked(getattr(parts, part), said[part]) for part in PARTS))


class _Chooser(ChoosingMaking):
    def taught(self, fitted: Fitted, parts: Splits) -> Splits:
        contexts = method(self.recipe.method).contexts
        if contexts is None:
            raise InvalidInput(f"{self.recipe.method} learns its rows as they are", param="method")
        return contexts.taught(fitted, parts, self._choosing())

    def leave(self) -> None:
        self._encoder = None
        self._free()


def _place(row: Example) -> int:
    """Of the last question. A conversation without one has what is found in a message of its own, which a row cannot."""
    return max((at for at, message in enumerate(row.prompt) if message.role == "user"), default=-1)


def _question(row: Example) -> str:
    return row.messages[_place(row)].content


def _asked(rows: Sequence[Example], questions: Sequence[str]) -> tuple[Example, ...]:
    if len(rows) != len(questions):
        raise Conflict("the run's data changed since its rows got their passages; create a new run", param="run")
    made = []
    for row, question in zip(rows, questions, strict=True):
        messages, at = list(row.messages), _place(row)
        messages[at] = dataclasses.replace(messages[at], content=question)
        made.append(dataclasses.replace(row, messages=tuple(messages)))
    return tuple(made)
