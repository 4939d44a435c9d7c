"""An advice for a person at a terminal: the answer, a chart of the ranking, costs, evidence, what would change it, what to run.

Fits into 80 columns. Reads an Advice and nothing else.
"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from advisor import bills, sizes
from advisor.advice import Advice
from advisor.evidence import Evidence
from advisor.ranking import Ranked
from advisor.report import wording

SHOWN, REASONS = 3, 3
"""Methods whose reasons are told, and how many of each."""
WIDE = 120
"""Characters of a terminal from which evidence and how it was got stand on one line."""
BAR = 14
"""Characters of the scale from 0 to 1."""
POINT, REACH, REST = "●", "━", "·"


def show(advice: Advice, console: Console) -> None:
    """Styles and colours only on a terminal; a pipe gets the same in plain characters."""
    console.print(
        f"\n[bold]{advice.method}[/]  confidence {advice.confidence:.0%}, profile {advice.profile}\n", highlight=False
    )
    for said in advice.says:
        console.print(_under(escape(said)), highlight=False)
    if advice.says:
        console.print()
    console.print(_ranking(advice.ranking), "")
    _reasons(advice.ranking, console)
    _evidence(advice.evidence, console)
    _unknown(advice.evidence, console)
    if advice.would_change_if:
        console.print("[bold]It would be another method[/]", highlight=False)
        for sentence in advice.would_change_if:
            console.print(f"  {escape(sentence)}", highlight=False)
        console.print()
    _plan(advice, console)


def show_sizes(table: sizes.Table, console: Console) -> None:
    """What fits: a tick; what does not: a cross."""
    made = _table(("base", "right"), ("weights", "right"), *((way, "right") for way in sizes.WAYS))
    for size in table.sizes:
        cells = []
        for way in sizes.WAYS:
            needs, fits = size.needs_gib[way], table.fits(size, way)
            said = "takes a GPU" if needs is None else f"{needs:,.1f} {'✓' if fits else '✗'}"
            cells.append(Text(said, style="green" if fits else "dim"))
        made.add_row(f"{size.params_b:.2g} B", f"{size.weights_gib:,.1f}", *cells)
    console.print(f"\n[bold]GiB that a base takes, of {table.have_gib:,.1f} there are[/]\n", highlight=False)
    console.print(made, "")
    for way, meaning in sizes.WAYS.items():
        console.print(_under(f"{way}: {meaning}"), highlight=False)
    counted = f"One row of {table.tokens:,} tokens at a time, by formula. A run scores the base in 16 bits too"
    console.print(_under(f"{counted} (run), so tuning fits only where that does."), highlight=False)
    console.print(_under(f"Memory is {escape(table.machine.how)}."), highlight=False)


def interval_bar(low: float, mean: float, high: float, width: int = BAR) -> str:
    """A score's interval on a scale from 0 to 1: `····━━━━●━━━····`."""
    place = [min(width - 1, int(value * width)) for value in (low, mean, high)]
    line = [REACH if place[0] <= at <= place[2] else REST for at in range(width)]
    line[place[1]] = POINT
    return "".join(line)


def _table(*columns: tuple[str, str]) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name, side in columns:
        made.add_column(name, justify="right" if side == "right" else "left", no_wrap=True)
    return made


def _ranking(ranking: tuple[Ranked, ...]) -> Table:
    made = _table(
        ("method", ""), ("score, 0 to 1", ""), ("", ""), ("90 %", ""), ("best", "right"), ("memory", "right"),
        ("train", "right"),
    )  # fmt: skip
    for one in ranking:
        low, high = one.quality.interval
        is_out = one.barred or one.fits is False
        bar = Text(interval_bar(low, one.quality.mean, high), style="" if is_out else "cyan")
        memory = f"✗ {wording.gib(one.memory_gib)}" if one.fits is False else wording.gib(one.memory_gib)
        made.add_row(
            one.method, bar, f"{one.quality.mean:.2f}", f"{low:.2f}-{high:.2f}", f"{one.p_best:.0%}", memory,
            wording.duration(bills.in_full(one.method, one.cost)["train_seconds"]), style="dim" if is_out else "",
        )  # fmt: skip
    return made


def _reasons(ranking: tuple[Ranked, ...], console: Console) -> None:
    """Of the first few; of what must not be advised, the methods by the reason they share."""
    for one in ranking[:SHOWN]:
        console.print(f"[bold]{one.method}[/]", highlight=False)
        for said in one.reasons[:REASONS]:
            console.print(_under(escape(said)), highlight=False)
        for said in one.risks[:REASONS]:
            console.print(_under(f"[yellow]risk:[/] {escape(said)}"), highlight=False)
        if cost := _cost(one):
            console.print(_under(f"costs {cost}"), highlight=False)
    barred: dict[str, list[str]] = {}
    for one in ranking[SHOWN:]:
        if one.barred:
            barred.setdefault(one.reasons[0], []).append(one.method)
    if barred:
        console.print("[bold]not to be advised[/]", highlight=False)
    for said, methods in barred.items():
        console.print(_under(f"{', '.join(methods)}: {escape(said)}"), highlight=False)
    console.print()


def _cost(one: Ranked) -> str:
    """What is known of it, in a line."""
    cost = bills.in_full(one.method, one.cost)
    said = []
    if cost["train_price"]:
        said.append(f"{wording.money(cost['train_price'])} to train")
    if (cost["train_kwh"] or 0.0) >= 0.001:
        said.append(f"{cost['train_kwh']:.2g} kWh")
    if cost["serve_price_per_1000"] is not None:
        said.append(f"{wording.money(cost['serve_price_per_1000'])} for 1,000 requests")
    if cost["warm_ms"]:
        said.append(f"{cost['warm_ms']:,.0f} ms more to wait")
    return ", ".join(said)


def _evidence(evidence: tuple[Evidence, ...], console: Console) -> None:
    """What is known; costs by method are left out, as they stand in the ranking. How it was got has a line of its own where
    there is no room beside it."""
    known = [one for one in evidence if "." not in one.name and one.value is not None]
    is_wide = console.width >= WIDE
    table = _table(("evidence", ""), ("value", "right"), ("95 %", ""), ("n", "right"), *([("how", "")] if is_wide else []))
    if is_wide:
        table.columns[-1].no_wrap = False
    for one in known:
        how = [escape(one.how)] if is_wide else []
        n = "" if one.n is None else f"{one.n:,}"
        table.add_row(one.name, escape(wording.value(one)), wording.interval(one), n, *how)
    if is_wide:
        console.print(table, "")
        return
    with console.capture() as captured:
        console.print(table)
    head, *lines = captured.get().splitlines()
    console.print(Text.from_ansi(head))
    for line, one in zip(lines, known, strict=True):
        console.print(Text.from_ansi(line))
        console.print(_under(f"[dim]{escape(one.how)}[/]"), highlight=False)
    console.print()


def _unknown(evidence: tuple[Evidence, ...], console: Console) -> None:
    for one in evidence:
        if one.value is None and "." not in one.name:
            console.print(_under(f"[dim]{one.name}[/]  {escape(one.how)}"), highlight=False)
    console.print()


def _under(said: str) -> Padding:
    return Padding(said, (0, 0, 0, 2), expand=False)


def _plan(advice: Advice, console: Console) -> None:
    plan = advice.plan
    console.print("[bold]Next[/]", highlight=False)
    if plan["note"]:
        console.print(f"  {escape(plan['note'])}", highlight=False)
    for command in plan["commands"]:
        console.print(f"  {escape(command)}", highlight=False, soft_wrap=True)
    if plan["expected_seconds"]:
        console.print(f"  about {wording.duration(plan['expected_seconds'])} of training, by formula", highlight=False)
