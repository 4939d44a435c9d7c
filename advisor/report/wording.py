"""Numbers of an advice as a person reads them: the same in a terminal and on a page."""

from __future__ import annotations

from advisor.evidence import Evidence

UNKNOWN = "?"
UNITS = (("d", 86_400.0), ("h", 3600.0), ("min", 60.0))


def value(evidence: Evidence) -> str:
    said = evidence.value
    if said is None:
        return "not known"
    if isinstance(said, bool):
        return "yes" if said else "no"
    if isinstance(said, str):
        return said
    unit = "" if evidence.unit in ("share", "probability", "ratio", "") else f" {evidence.unit}"
    return (f"{said:,.0f}" if abs(said) >= 100 or isinstance(said, int) else f"{said:.3g}") + unit


def interval(evidence: Evidence) -> str:
    return "" if evidence.interval is None else f"{evidence.interval[0]:.2f} to {evidence.interval[1]:.2f}"


def duration(seconds: float | None) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds is None:
        return UNKNOWN
    for unit, size in UNITS:
        if seconds >= size:
            return f"{_short(seconds / size)} {unit}"
    return "<1 s" if 0 < seconds < 1 else f"{_short(seconds)} s"


def money(dollars: float | None) -> str:
    if dollars is None:
        return UNKNOWN
    return "$0" if dollars == 0 else f"${dollars:,.0f}" if dollars >= 100 else f"${dollars:,.2f}" if dollars >= 0.01 else "<1¢"


def gib(size: float | None) -> str:
    return UNKNOWN if size is None else f"{size:,.0f} GiB" if size >= 100 else f"{size:.1f} GiB"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or number == 0 else f"{number:.1f}".removesuffix(".0")
