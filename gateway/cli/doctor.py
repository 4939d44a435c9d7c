"""`graft doctor`: one table to look at first, when something is wrong or before anything is. Changes nothing.

What is looked at stands in `checks/`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape
from rich.table import Table

from adapters.errors import GraftError
from gateway import settings
from gateway.cli.checks.contract import Check, Finding
from gateway.cli.checks.table import CHECKS
from gateway.cli.terminal import out, print_json

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(*, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """What this machine has and can do, what is wrong, and what memory is planned for. Exit status 1 if anything fails.

    Parameters
    ----------
    json
        Print the findings as JSON.
    """
    setting = settings.load()
    found = [(name, finding) for name, check in CHECKS.items() for finding in _findings(check, setting)]
    if json:
        print_json([{"check": name} | dataclasses.asdict(finding) for name, finding in found])
    else:
        out.print(_table(found))
    if any(finding.state == "fail" for _, finding in found):
        sys.exit(1)


def _findings(check: Check, setting: settings.Settings) -> Iterator[Finding]:
    try:
        yield from check(setting)
    except GraftError as error:
        yield Finding("fail", error.message)
    except Exception as error:  # whatever is broken, the checks behind it are wanted all the more
        yield Finding("fail", f"the check itself failed: {type(error).__name__}: {error}")


def _table(found: list[tuple[str, Finding]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    told = ""
    for name, finding in found:
        do = f"\n[dim]→ {escape(finding.do)}[/]" if finding.do else ""
        state = f"[{COLOURS[finding.state]}]{finding.state}[/]"
        table.add_row("" if name == told else name, state, escape(finding.says) + do)
        told = name
    return table
