"""A data file as one immutable thing: its examples, a fingerprint of what they say, and splits that do not leak.

Fingerprint and splits follow from content and seed alone: neither formatting nor the order of rows matters.
Knows no tokenizer and no method.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.conversation import Example
from adapters.data.readers import read_formed
from adapters.errors import InvalidInput

FEWEST_ROWS = 10
FEWEST_PROMPTS = 3


@dataclass(frozen=True, slots=True)
class Dataset:
    examples: tuple[Example, ...]
    fingerprint: str
    """sha256 of the content, 64 hex digits; equal for two files that hold the same rows in any order or format."""
    form: str = "pairs"
    """As it was found, a word of `forms.FORMS`."""


@dataclass(frozen=True, slots=True)
class Splits:
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    held_out: tuple[Example, ...]


def open_dataset(
    path: Path, *, prompt_column: str | None = None, completion_column: str | None = None, shown_as: str | None = None
) -> Dataset:
    """Raises DataError or DataErrors, see `readers.read`."""
    columns = {"prompt_column": prompt_column, "completion_column": completion_column}
    form, examples = read_formed(path, shown_as=shown_as, **columns)
    return dataset(examples, form)


def dataset(examples: Sequence[Example], form: str = "pairs") -> Dataset:
    digests = sorted(map(_row_digest, examples))
    return Dataset(tuple(examples), hashlib.sha256("".join(digests).encode()).hexdigest(), form)


def split(dataset: Dataset, *, seed: int, validation: float = 0.1, held_out: float = 0.2) -> Splits:
    """Three parts, none empty; rows that ask the same thing stay together, so no prompt is on two sides.

    The parts' sizes are the shares of all rows, as nearly as whole groups allow.
    Raises InvalidInput for fewer than 10 rows or 3 different prompts: then there is nothing to measure on.
    """
    rows = dataset.examples
    if not (0 < validation < 1 and 0 < held_out < 1 and validation + held_out < 1):
        raise InvalidInput("validation and held-out shares must be above 0 and together below 1", param="held_out_share")
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(rows, key=_row_digest):
        groups[example.prompt_key].append(example)
    if len(rows) < FEWEST_ROWS or len(groups) < FEWEST_PROMPTS:
        raise InvalidInput(
            f"{len(rows)} rows with {len(groups)} different prompts are too few to train on and to measure with: "
            f"bring at least {FEWEST_ROWS} rows and {FEWEST_PROMPTS} prompts",
            param="training_file",
        )
    wanted = {"held_out": max(1, round(held_out * len(rows))), "validation": max(1, round(validation * len(rows)))}
    parts: dict[str, list[list[Example]]] = {"held_out": [], "validation": [], "train": []}
    for key in sorted(groups, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest()):
        room = (part for part, rows_wanted in wanted.items() if _rows(parts[part]) + len(groups[key]) <= rows_wanted)
        parts[next(room, "train")].append(groups[key])
    _fill_empty(parts)
    return Splits(
        *(tuple(example for group in parts[part] for example in group) for part in ("train", "validation", "held_out"))
    )


def _fill_empty(parts: dict[str, list[list[Example]]]) -> None:
    """Where large groups fitted nowhere: the smallest group of the part with the most groups moves over."""
    for part in parts.values():
        if not part:
            giver = max(parts.values(), key=len)
            smallest = min(giver, key=len)
            giver.remove(smallest)
            part.append(smallest)


def _rows(groups: list[list[Example]]) -> int:
    return sum(map(len, groups))


def _row_digest(example: Example) -> str:
    spoken = [[message.role, message.content] for message in example.messages]
    content: list[Any] = [spoken, example.supervised]
    calls = [message.tool_calls for message in example.messages if message.tool_calls]
    if example.tools or calls or example.rejected is not None:  # most rows have none, and keep the digest they always had
        content += [example.tools, calls, example.rejected]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
