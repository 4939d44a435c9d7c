"""The bones of a chart in SVG: axes with ticks and names, lines, dots with intervals, labels that do not lie on each other.

Lengths are pixels of a box that scales with the page. Colours are the page's. Knows no advice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from advisor.report.markup import Markup, element

WIDTH, HEIGHT = 720.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 570.0, 14.0, 292.0
"""Of the area that data is drawn in; labels of lines and points stand right of it."""
LABEL_HEIGHT = 14.0


@dataclass(frozen=True, slots=True)
class Axis:
    """From values to pixels; what lies outside is drawn at the end. Raises ValueError for a logarithm of nothing."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __post_init__(self) -> None:
        if self.high <= self.low or (self.is_log and self.low <= 0):
            raise ValueError(f"no axis from {self.low} to {self.high}")

    def at(self, value: float) -> float:
        low, high, held = self.low, self.high, min(self.high, max(self.low, value))
        share = math.log(held / low) / math.log(high / low) if self.is_log else (held - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        if not self.is_log:
            step = _step((self.high - self.low) / 5)
            first = math.ceil(self.low / step - 1e-9)
            return [round((first + place) * step, 10) for place in range(int(self.high / step + 1e-9) - first + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for parts in ((1,), (1, 3), (1, 2, 5)):
            found = [part * 10.0**power for power in decades for part in parts]
            found = [value for value in found if self.low * 0.999 <= value <= self.high * 1.001]
            if len(found) >= 3:
                break
        return found


def scores() -> Axis:
    return Axis(0.0, 1.0, BOTTOM, TOP)


def logarithmic(values: Sequence[float], start: float = LEFT, end: float = RIGHT) -> Axis:
    """Round ends that hold all values, which are above 0, with some room."""
    return Axis(min(values) / 1.6, max(values) * 1.6, start, end, is_log=True)


def picture(title: str, *parts: object, height: float = HEIGHT) -> Markup:
    return element("svg", element("title", title), parts, viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", class_="chart")


def frame(across: Axis, up: Axis, across_name: str, up_name: str, shown: dict[float, str] | None = None) -> list[Markup]:
    """Grid, ticks and the names of both axes; `shown`: other words for ticks of the one across."""
    made = []
    for value in up.ticks():
        y = up.at(value)
        made.append(element("line", x1=across.start, x2=across.end, y1=y, y2=y, class_="grid"))
        made.append(element("text", f"{value:g}", x=across.start - 8, y=y + 4, class_="tick", text_anchor="end"))
    for value, said in (shown or {tick: amount(tick) for tick in across.ticks()}).items():
        x = across.at(value)
        made.append(element("line", x1=x, x2=x, y1=up.start, y2=up.start + 5, class_="axis"))
        made.append(element("text", said, x=x, y=up.start + 19, class_="tick", text_anchor="middle"))
    made.append(element("line", x1=across.start, x2=across.end, y1=up.start, y2=up.start, class_="axis"))
    middle = (across.start + across.end) / 2
    made.append(element("text", across_name, x=middle, y=up.start + 38, class_="name", text_anchor="middle"))
    turned = f"translate(14 {(up.start + up.end) / 2:g}) rotate(-90)"
    return [*made, element("text", up_name, transform=turned, class_="name", text_anchor="middle")]


def line(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=f"curve {class_}")


def band(lower: Sequence[tuple[float, float]], upper: Sequence[tuple[float, float]], class_: str) -> Markup:
    whole = [*lower, *reversed(upper)]
    return element("polygon", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in whole), class_=f"band {class_}")


def dot(x: float, y: float, low: float, high: float, class_: str, says: str) -> Markup:
    """With its interval, upright; `says` is shown when it is pointed at."""
    bar = element("line", x1=x, x2=x, y1=low, y2=high, class_="reach")
    return element("g", element("title", says), bar, element("circle", cx=x, cy=y, r=5.0), class_=f"dot {class_}")


def labels(wanted: Sequence[tuple[float, float, str, str]], top: float = TOP, bottom: float = BOTTOM) -> list[Markup]:
    """(x, y, text, class) each beside its place, right of the data, pushed apart where they would lie on each other."""
    ordered = sorted(wanted, key=lambda one: one[1])
    heights = spread([one[1] for one in ordered], top, bottom)
    made = []
    for (x, y, text, class_), height in zip(ordered, heights, strict=True):
        made.append(element("line", x1=x, x2=RIGHT + 14, y1=y, y2=height, class_=f"lead {class_}"))
        made.append(element("text", text, x=RIGHT + 18, y=height + 4, class_=f"label {class_}"))
    return made


def spread(wanted: Sequence[float], low: float, high: float, gap: float = LABEL_HEIGHT) -> list[float]:
    """Places in order, as near to the wanted as may be, `gap` apart, within low and high where there is room for all."""
    made: list[float] = []
    for value in wanted:
        made.append(max(value, made[-1] + gap if made else low))
    ceiling = high
    for place in range(len(made) - 1, -1, -1):
        made[place] = min(made[place], ceiling)
        ceiling = made[place] - gap
    return made


def amount(value: float) -> str:
    """`1,000`, `50k`, `2M`, `0.003`."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= 10 * size or (unit == "M" and value >= size):
            return f"{value / size:g}{unit}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _step(least: float) -> float:
    """1, 2 or 5 times a power of ten, not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * part for part in (1, 2, 5, 10) if power * part >= least * 0.999)
