"""What every verb shares with the person in front of it: tables on stdout, complaints on stderr, JSON on request."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from adapters.errors import GraftError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def complain(error: GraftError) -> None:
    err.print(f"[red]graft:[/] {escape(error.message)}", soft_wrap=True)


def print_json(value: Any) -> None:
    """One line of JSON on a pipe, indented for a person."""
    json.dump(value, sys.stdout, indent=1 if sys.stdout.isatty() else None, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    out.print(table)


def ago(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
