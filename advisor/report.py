"""An advice for a person at a terminal: the answer, the ranking, the evidence, what would change it, what to run.

Reads an Advice and nothing else.
"""

from __future__ import annotations

from rich.bar import Bar
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from advisor.advice import Advice
from advisor.evidence import Evidence
from advisor.ranking import Ranked

REASONS = 3
BAR_WIDTH = 16


def show(advice: Advice, console: Console) -> None:
    console.print(f"\n[bold]{advice.method}[/]  confidence {advice.confidence:.0%}\n", highlight=False)
    console.print(_ranking(advice.ranking), "")
    console.print(_evidence(advice.evidence), "")
    if advice.would_change_if:
        console.print("[bold]It would be another method[/]", highlight=False)
        for sentence in advice.would_change_if:
            console.print(f"  {escape(sentence)}", highlight=False)
        console.print()
    _plan(advice, console)


def _ranking(ranking: tuple[Ranked, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("method", "score", "", "memory", "because"):
        table.add_column(column, no_wrap=column in ("method", "memory"))
    for one in ranking:
        memory = "?" if one.memory_gib is None else f"{one.memory_gib:.1f} GiB"
        style = "dim" if one.fits is False else ""
        bar = Bar(1.0, 0.0, one.score, width=BAR_WIDTH, color="cyan")
        table.add_row(one.method, f"{one.score:.2f}", bar, memory, escape("; ".join(one.reasons[:REASONS])), style=style)
    return table


def _evidence(evidence: tuple[Evidence, ...]) -> Table:
    """Costs by method are left out: they stand in the ranking."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("evidence", "value", "95 %", "n", "how"):
        table.add_column(
            column, justify="right" if column in ("value", "n") else "left", no_wrap=column in ("evidence", "value")
        )
    for one in evidence:
        if "." in one.name:
            continue
        interval = "" if one.interval is None else f"{one.interval[0]:.2f} to {one.interval[1]:.2f}"
        table.add_row(one.name, _value(one), interval, "" if one.n is None else f"{one.n:,}", escape(one.how))
    return table


def _value(evidence: Evidence) -> str:
    value = evidence.value
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    unit = "" if evidence.unit in ("share", "probability", "ratio") else f" {evidence.unit}"
    return (f"{value:,.0f}" if abs(value) >= 100 or isinstance(value, int) else f"{value:.3g}") + unit


def _plan(advice: Advice, console: Console) -> None:
    plan = advice.plan
    console.print("[bold]Next[/]", highlight=False)
    if plan["note"]:
        console.print(f"  {escape(plan['note'])}", highlight=False)
    for command in plan["commands"]:
        console.print(f"  {escape(command)}", highlight=False, soft_wrap=True)
    if plan["expected_seconds"]:
        console.print(f"  about {plan['expected_seconds']:,.0f} s of training, by formula", highlight=False)
