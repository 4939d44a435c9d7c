"""The charts of a report: quality against cost, what more rows would bring, how far the data is, what memory each method takes.

Each is a function from an advice to SVG, or to a sentence where what it would show is not known.
"""

from __future__ import annotations

from advisor import ahead, bills
from advisor.advice import Advice
from advisor.evidence import Evidence, by_name, number
from advisor.ranking import Ranked
from advisor.report import plot, wording
from advisor.report.markup import Markup, element
from advisor.report.plot import Axis

LOOKS = {
    "zero_shot": "asked", "few_shot": "shown", "knn_few_shot": "shown", "many_shot": "shown", "rag": "read", "rag+lora": "read",
    "head": "small", "prompt_tuning": "small", "lora": "tuned", "full": "tuned", "continued_pretraining": "tuned",
}  # fmt: skip
"""Colours of the page, by what a method does."""
CURVES = 6
"""Methods whose curves are drawn, the likeliest to be best."""
LEAST = 1e-6
"""Dollars or seconds; what costs less is drawn there."""
ROW = 34.0
"""Pixels to a line of a panel."""
SHIFTS = (
    ("domain_shift", "domain_shift_null"), ("c2st_accuracy", "c2st_null"), ("mmd2", "mmd2_null"),
    ("bits_per_byte", "bits_per_byte_reference"), ("tokens_per_byte", "tokens_per_byte_reference"),
)  # fmt: skip
"""Each measure, and what everyday text gives in its place."""


def quality_and_cost(advice: Advice) -> Markup:
    """Every method that can be advised: its score with the 90 % interval, over what it costs to make and to serve."""
    found = by_name(advice.evidence)
    requests = bills.requests_counted(found)
    priced = number(found, "price_per_hour") is not None
    costs = {
        one.method: cost for one in advice.ranking if _runs(one) and (cost := whole_cost(one, requests, priced)) is not None
    }
    if not costs:
        return element("p", "What methods cost is not known: it follows from the base's size (--base, or --params-b).")
    across, up = plot.logarithmic([max(LEAST, cost) for cost in costs.values()]), plot.scores()
    dots, labels = [], []
    for one in advice.ranking:
        if one.method not in costs:
            continue
        (low, high), mean, cost = one.quality.interval, one.quality.mean, costs[one.method]
        x, y, look = across.at(cost), up.at(mean), LOOKS[one.method]
        said = (
            f"{one.method}: {mean:.2f} ({low:.2f} to {high:.2f}), {wording.money(cost) if priced else wording.duration(cost)}"
        )
        dots.append(plot.dot(x, y, up.at(low), up.at(high), look, said))
        labels.append((x, y, one.method, look))
    unit = "US dollars" if priced else "seconds of the machine"
    name = f"{unit} to make it and answer {requests:,.0f} requests"
    return plot.picture(
        "Quality against cost", plot.frame(across, up, name, f"score ({advice.ranking[0].metric})"), plot.labels(labels), dots
    )


def whole_cost(one: Ranked, requests: float, priced: bool) -> float | None:
    cost = bills.in_full(one.method, one.cost)
    making, serving = ("train_price", "serve_price_per_1000") if priced else ("train_seconds", "serve_seconds_per_1000")
    made, served = cost[making], cost[serving]
    return None if made is None or served is None else made + served * requests / 1000


def learning_curves(advice: Advice) -> Markup:
    curves, rows = ahead.by_rows(advice), number(advice.measured, "n_examples")
    if not curves or not rows:
        return element("p", "How many rows there are is not known (--n), so no curve is drawn.")
    running = sorted((one for one in advice.ranking if _runs(one)), key=lambda one: -one.p_best)[:CURVES]
    if not running:
        return element("p", "No method can be advised, so no curve is drawn.")
    first = curves[running[0].method]
    across = Axis(first[0].rows / 1.15, first[-1].rows * 1.15, plot.LEFT, plot.RIGHT, is_log=True)
    up, best, parts, labels = plot.scores(), running[0].method, [], []
    lower, upper = ([(across.at(one.rows), up.at(one.interval[side])) for one in first] for side in (0, 1))
    parts.append(plot.band(lower, upper, LOOKS[best]))
    for one in running:
        points = [(across.at(at.rows), up.at(at.score)) for at in curves[one.method]]
        parts.append(plot.line(points, LOOKS[one.method]))
        labels.append((*points[-1], one.method, LOOKS[one.method]))
    now = across.at(rows)
    here = element("line", x1=now, x2=now, y1=up.start, y2=up.end, class_="now")
    said = element("text", f"{rows:,.0f} rows now", x=now + 5, y=plot.TOP + 10, class_="tick")
    ticks = {float(one.rows): plot.amount(one.rows) for one in first}
    frame = plot.frame(across, up, "rows", f"score ({running[0].metric})", ticks)
    return plot.picture("What more rows would bring", frame, parts, here, said, plot.labels(labels))


def shift_panel(advice: Advice) -> Markup:
    """Each measure on a line of its own: what everyday text gives as a band, the data as a dot with its interval."""
    found = by_name(advice.evidence)
    lines = [(found[name], found.get(null)) for name, null in SHIFTS if number(found, name) is not None]
    if not lines:
        return element("p", "No shift was measured: it takes the data itself.")
    parts = [_shift_line(one, null, plot.TOP + ROW * place) for place, (one, null) in enumerate(lines)]
    return plot.picture("How far the data is from everyday text", parts, height=plot.TOP + ROW * len(lines) + 6)


def _shift_line(one: Evidence, null: Evidence | None, y: float) -> list[Markup]:
    value = float(one.value or 0.0)
    ends = [value, *(one.interval or ()), 0.0]
    usual = None if null is None or null.value is None else null.interval or (float(null.value), float(null.value))
    highest = 1.0 if one.unit == "share" else 1.08 * max([*ends, *(usual or ()), 1e-9])
    across = Axis(min(ends + list(usual or ())), highest, 190.0, 480.0)
    middle = y + ROW / 2
    low, high = one.interval or (value, value)
    made = [
        element("text", one.name, x=12.0, y=middle + 4, class_="label"),
        element("line", x1=across.start, x2=across.end, y1=middle, y2=middle, class_="grid"),
    ]
    if usual is not None:
        start, width = across.at(usual[0]), max(2.0, across.at(usual[1]) - across.at(usual[0]))
        made.append(element("rect", x=start, y=middle - 9, width=width, height=18.0, class_="null"))
    reach = element("line", x1=across.at(low), x2=across.at(high), y1=middle, y2=middle, class_="reach")
    made.append(element("g", reach, element("circle", cx=across.at(value), cy=middle, r=5.0), class_="dot tuned"))
    said = f"{value:.3g}" + ("" if usual is None else f"; everyday text {usual[0]:.3g} to {usual[1]:.3g}")
    return [*made, element("text", said, x=492.0, y=middle + 4, class_="tick")]


def memory(advice: Advice) -> Markup:
    needs = [(one.method, one.memory_gib, one.fits) for one in advice.ranking if one.memory_gib is not None]
    have = number(by_name(advice.evidence), "gpu_gib")
    if not needs or have is None:
        return element("p", "Memory follows from the base's size (--base, or --params-b), which is not known.")
    across = Axis(0.0, 1.1 * max(have, *(gib for _, gib, _ in needs)), 190.0, 620.0)
    parts: list[object] = []
    for place, (method, gib, fits) in enumerate(needs):
        y = plot.TOP + 22 * place
        width = across.at(gib) - across.start
        parts.append(element("text", method, x=12.0, y=y + 13, class_="label"))
        parts.append(element("rect", x=across.start, y=y + 2, width=width, height=14.0, class_="fits" if fits else "beyond"))
        parts.append(element("text", wording.gib(gib), x=across.at(gib) + 6, y=y + 13, class_="tick"))
    bottom = plot.TOP + 22 * len(needs)
    there = across.at(have)
    parts.append(element("line", x1=there, x2=there, y1=plot.TOP - 6, y2=bottom + 4, class_="now"))
    said = f"{wording.gib(have)} there are"
    parts.append(element("text", said, x=there, y=bottom + 18, class_="tick", text_anchor="middle"))
    return plot.picture("Memory by method", parts, height=bottom + 26)


def _runs(one: Ranked) -> bool:
    return not one.barred and one.fits is not False
