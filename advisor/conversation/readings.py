"""What a number in a text can mean as a value of a field: by its unit, its scale and the field's range of kinds.

The one place where units are converted; whatever is read, by whomever, is one of these readings. Knows no grammar.
"""

from __future__ import annotations

import re

from advisor import hardware
from advisor.conversation.numerals import Numeral
from advisor.stated import FIELDS

MEMORY_GIB = {
    "gib": 1.0, "gb": hardware.GIB_PER_GB, "gig": hardware.GIB_PER_GB, "gigs": hardware.GIB_PER_GB,
    "gigabytes": hardware.GIB_PER_GB, "mib": 1 / 1024, "tib": 1024.0, "tb": 1000 * hardware.GIB_PER_GB,
}  # fmt: skip
TIME_MS = {
    "ms": 1.0, "milliseconds": 1.0, "millisecond": 1.0, "s": 1000.0, "sec": 1000.0, "second": 1000.0, "seconds": 1000.0,
}  # fmt: skip
A_DAY = {"sec": 86_400.0, "second": 86_400.0, "minute": 1440.0, "hour": 24.0, "day": 1.0, "rps": 86_400.0, "qps": 86_400.0}
OTHER = ("tflops", "tflop/s", "teraflops", "watts", "watt", "w", "kb", "mb", "x", "days", "weeks", "years", "epochs")

_UNIT = re.compile(
    r"[\s-]?(" + "|".join(sorted((*MEMORY_GIB, *TIME_MS, *OTHER, "rps", "qps"), key=len, reverse=True)) + r")\b(?!-)",
    re.IGNORECASE,
)
_RATE = re.compile(r"(?:\bper|\ban?|\beach|\bevery|/)\s?(second|sec|minute|hour|day)\b|\b(rps|qps)\b", re.IGNORECASE)
REACH = 60
"""Characters after a number in which its rate is looked for."""
OF_UNITS = {
    "gpu_gib": MEMORY_GIB, "latency_budget_ms": TIME_MS, "train_tflops": dict.fromkeys(OTHER[:3], 1.0),
    "watts": dict.fromkeys(OTHER[3:6], 1.0),
}  # fmt: skip


def reading(name: str, numeral: Numeral, text: str) -> float | int | None:
    """The value of the field `name` that the numeral stands for in `text`; None where it can be none."""
    field = FIELDS[name]
    if field.unit == "share":
        return _share(numeral)
    if field.kind not in (int, float) or numeral.percent or (numeral.money and name != "price_per_hour"):
        return None
    value, found = numeral.value, unit_after(numeral, text)
    units = OF_UNITS.get(name)
    if name == "params_b":
        value = value / 1e9 if numeral.scale >= 1e6 else value
    elif name == "queries_per_day":
        value *= _rate(numeral, text)
        found = None if found in ("rps", "qps") else found
    if found is not None:
        if units is None or found not in units:
            return None
        value *= units[found]
    elif numeral.named and name != "params_b":
        return None
    value = round(value, 3 if name == "gpu_gib" else 6)
    if field.kind is int:
        is_whole = value == int(value) and (not numeral.point or numeral.scale > 1)
        return int(value) if is_whole else None
    return value


def unit_after(numeral: Numeral, text: str) -> str | None:
    """In lower case; None where none that is known follows."""
    found = _UNIT.match(text, numeral.end)
    return found[1].lower() if found else None


def _share(numeral: Numeral) -> float | None:
    if numeral.percent:
        return round(numeral.value / 100, 6)
    is_plain = numeral.scale == 1 and not (numeral.money or numeral.in_words or numeral.named)
    return numeral.value if is_plain and numeral.value <= 1 else None


def _rate(numeral: Numeral, text: str) -> float:
    end = text.find("\n", numeral.end)
    found = _RATE.search(text, numeral.end, min(numeral.end + REACH, len(text) if end < 0 else end))
    return 1.0 if found is None else A_DAY[(found[1] or found[2]).lower()]
