"""An advice as one HTML page with charts: no script, nothing fetched, readable in light and in dark and on paper.

Everything that is text goes through `markup.element`, which escapes it; beyond that, the page forbids itself to load anything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from advisor import bills
from advisor.advice import Advice
from advisor.evidence import Evidence
from advisor.ranking import Ranked
from advisor.report import charts, wording
from advisor.report.markup import Markup, element, together

STYLE = Path(__file__).with_name("page.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Of the page itself: a browser fetches nothing for it, whatever stands in it."""
WEIGHTIEST = 3
"""Reasons told with the answer; all stand further below."""


def page(advice: Advice) -> str:
    title = f"{advice.method}: an advice"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(_style())),
    )
    body = element(
        "body",
        _answer(advice),
        _plan(advice),
        _changes(advice),
        _pictures(advice),
        _ranking(advice),
        _why(advice),
        _evidence(advice),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


@lru_cache(maxsize=1)
def _style() -> str:
    return STYLE.read_text()


def _answer(advice: Advice) -> list[Markup]:
    """What a reader takes away who reads no further."""
    sure = f"Best with a probability of {advice.confidence:.0%}, for somebody to whom {advice.profile} counts."
    said = [element("li", one) for one in (*advice.ranking[0].reasons[:WEIGHTIEST], *advice.says)]
    return [element("h1", f"Advised: {advice.method}"), element("p", sure, class_="quiet"), element("ul", said)]


def _pictures(advice: Advice) -> list[Markup]:
    beyond = "The band is the 90 % interval of the best; nothing is said beyond eight times the rows there are."
    return [
        _figure("Quality against cost", charts.quality_and_cost(advice),
                "Bars are 90 % intervals of the score on rows that were not learned from. Costs are by formula."),
        _figure("What more rows would bring", charts.learning_curves(advice),
                f"The decision made again at other numbers of rows. {beyond}"),
        _figure("How far the data is from everyday text", charts.shift_panel(advice),
                "Each measure on its own scale. Grey: what two halves of everyday text differ by, or what such text gives; "
                "a dot right of it is a difference."),
        _figure("Memory by method", charts.memory(advice), "At its peak, by formula, against what the machine has."),
    ]  # fmt: skip


def _figure(heading: str, chart: Markup, caption: str) -> Markup:
    if not chart.startswith("<svg"):  # a sentence says why there is none
        return together([element("h2", heading), chart])
    return together([element("h2", heading), element("figure", chart, element("figcaption", caption))])


def _table(columns: list[str], rows: list[Markup]) -> Markup:
    """A column whose name ends in a full stop is of numbers."""
    head = [element("th", name.rstrip("."), class_="number" if name.endswith(".") else None) for name in columns]
    made = element("table", element("thead", element("tr", head)), element("tbody", rows))
    return element("div", made, class_="wide")


def _ranking(advice: Advice) -> list[Markup]:
    """Columns of which nothing is known are left out."""
    costs = {one.method: bills.in_full(one.method, one.cost) for one in advice.ranking}
    known = [(name, key, say) for name, key, say in COSTS if any(cost[key] for cost in costs.values())]
    columns = ["method", "score.", "90 %.", "best.", "memory.", *(f"{name}." for name, _, _ in known)]
    rows = [_method(one, [say(costs[one.method][key]) for _, key, say in known]) for one in advice.ranking]
    return [element("h2", "All methods"), _table(columns, rows)]


COSTS: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("training", "train_seconds", wording.duration),
    ("its price", "train_price", wording.money),
    ("1,000 requests", "serve_price_per_1000", wording.money),
)


def _method(one: Ranked, costs: list[str]) -> Markup:
    low, high = one.quality.interval
    memory = ("✗ " if one.fits is False else "") + wording.gib(one.memory_gib)
    numbers = [f"{one.quality.mean:.2f}", f"{low:.2f} to {high:.2f}", f"{one.p_best:.0%}", memory, *costs]
    cells = [element("td", said, class_="number") for said in numbers]
    return element("tr", element("td", one.method), cells, class_="out" if _is_out(one) else None)


def _is_out(one: Ranked) -> bool:
    return one.barred or one.fits is False


def _why(advice: Advice) -> list[Markup]:
    made = []
    for one in advice.ranking:
        said = [element("li", reason) for reason in one.reasons] + [element("li", risk, class_="risk") for risk in one.risks]
        name = one.method + (": not to be advised" if _is_out(one) else "")
        made.append(element("section", element("h3", name), element("ul", said), class_="out" if _is_out(one) else None))
    return [element("h2", "Why"), element("div", made, class_="side")]


def _changes(advice: Advice) -> list[Markup]:
    if not advice.would_change_if:
        return []
    return [element("h2", "What would change it"), element("ul", [element("li", said) for said in advice.would_change_if])]


def _plan(advice: Advice) -> list[Markup]:
    plan = advice.plan
    made = [element("h2", "Next")]
    if plan["note"]:
        made.append(element("p", plan["note"]))
    if plan["commands"]:
        made.append(element("pre", element("code", "\n".join(plan["commands"]))))
    if plan["expected_seconds"]:
        made.append(
            element("p", f"About {wording.duration(plan['expected_seconds'])} of training, by formula.", class_="quiet")
        )
    return made


def _evidence(advice: Advice) -> list[Markup]:
    columns = ["name", "value.", "95 %.", "n.", "how"]
    whole = [one for one in advice.evidence if "." not in one.name]
    by_method = [one for one in advice.evidence if "." in one.name]
    made = [element("h2", "Evidence"), _table(columns, [_row(one) for one in whole])]
    if by_method:
        more = element("summary", f"{len(by_method)} figures of single methods")
        made.append(element("details", more, _table(columns, [_row(one) for one in by_method])))
    return made


def _row(one: Evidence) -> Markup:
    n = "" if one.n is None else f"{one.n:,}"
    numbers = [element("td", said, class_="number") for said in (wording.value(one), wording.interval(one), n)]
    return element("tr", element("td", one.name), numbers, element("td", one.how))
