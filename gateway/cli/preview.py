"""`graft tune FILE --preview`: the data as the model will see it, and the recipe with its reasons. Nothing is trained.

Needs the base's vocabulary, not its weights.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from adapters import bases
from adapters.conversation import Example
from adapters.data.dataset import Dataset
from adapters.data.tokens import IGNORED, Encoded, encode, encode_documents, encode_pair
from adapters.data.warnings import warnings
from adapters.prompts import PromptTemplate
from adapters.tuning.recipe import Choice, Recipe
from gateway.cli.terminal import out

ROWS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Preview:
    form: str
    rows: int
    warnings: list[str]
    shown: list[Encoded]
    lengths: list[int]
    trained_tokens: int
    too_long: int


def look(dataset: Dataset, base_folder: Path, template: PromptTemplate | None, recipe: Recipe) -> Preview:
    """Raises InvalidInput where a row cannot be rendered by the base's chat template."""
    tokenizer = bases.open_tokenizer(base_folder)
    longest = min(recipe.max_length, bases.facts(base_folder).context)

    def rows(example: Example) -> list[Encoded]:
        if recipe.objective == "lm":
            return encode_documents(tokenizer, [example], longest)
        return (
            list(encode_pair(tokenizer, example, template))
            if recipe.objective == "dpo"
            else [encode(tokenizer, example, template)]
        )

    encoded = [row for example in dataset.examples for row in rows(example)]
    fitting = [row for row in encoded if len(row.input_ids) <= longest]
    return Preview(
        dataset.form, len(dataset.examples), warnings(dataset.examples), encoded[:ROWS_SHOWN],
        [len(row.input_ids) for row in encoded], sum(row.supervised for row in fitting), len(encoded) - len(fitting),
    )  # fmt: skip


def show(preview: Preview, base_folder: Path, recipe: Recipe, reasons: list[Choice]) -> None:
    tokenizer = bases.open_tokenizer(base_folder)
    low, middle, high = min(preview.lengths), statistics.median(preview.lengths), max(preview.lengths)
    out.print(
        f"{preview.rows} rows of the form [bold]{preview.form}[/bold], {low} to {high} tokens (median {middle:g}), "
        f"{preview.trained_tokens:,} tokens learned; {preview.too_long} too long for {recipe.max_length} and left out"
    )
    for warning in preview.warnings:
        out.print(f"[yellow]![/yellow] {warning}")
    for row in preview.shown:
        out.rule(f"line {row.line}: {len(row.input_ids)} tokens, {row.supervised} learned", align="left", style="dim")
        text = Text()
        for trained, piece in spans(tokenizer, row):
            text.append(piece, style="bold green underline" if trained else "dim")
        out.print(text)
    table = Table("knob", "value", "why", title="recipe", title_justify="left", box=None)
    why = {choice.knob: choice.why for choice in reasons}
    for knob, reason in why.items():
        said = getattr(recipe, knob)
        is_default = any(choice.knob == knob and choice.value == said for choice in reasons)
        table.add_row(knob, f"{said:g}" if isinstance(said, float) else str(said), reason if is_default else "as you said")
    out.print(table)


def to_json(preview: Preview, base_folder: Path) -> dict[str, Any]:
    tokenizer = bases.open_tokenizer(base_folder)
    shown = [
        {
            "line": row.line, "input_ids": row.input_ids, "labels": row.labels,
            "spans": [{"trained": trained, "text": piece} for trained, piece in spans(tokenizer, row)],
        }
        for row in preview.shown
    ]  # fmt: skip
    lengths = {"min": min(preview.lengths), "median": statistics.median(preview.lengths), "max": max(preview.lengths)}
    return {
        "form": preview.form, "rows": preview.rows, "warnings": preview.warnings, "tokens_per_row": lengths,
        "trained_tokens": preview.trained_tokens, "too_long": preview.too_long, "shown": shown,
    }  # fmt: skip


def spans(tokenizer: Any, row: Encoded) -> list[tuple[bool, str]]:
    """The row's text in pieces that are learned, or not, in turn; special tokens as they are written."""
    pieces: list[tuple[bool, list[int]]] = []
    for token, label in zip(row.input_ids, row.labels, strict=True):
        trained = label != IGNORED
        if not pieces or pieces[-1][0] != trained:
            pieces.append((trained, []))
        pieces[-1][1].append(token)
    return [(trained, tokenizer.decode(ids, skip_special_tokens=False)) for trained, ids in pieces]
