"""A run's course at a glance: its losses, and what it forgot, as lines of blocks; and how far a running one has come.

Reads what the run says of itself (`gateway/jobs/metrics.py`). Knows no queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 48
SHOWN = {
    "training loss": ("step", "loss"),
    "validation loss": ("validation", "loss"),
    "forgetting": ("validation", "forgetting_nats"),
}
"""What is drawn: the event and its field. Nats per token."""


def course(said: Sequence[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """(what, its line, first, last) for each that the run has said anything of."""
    rows = []
    for name, (event, field) in SHOWN.items():
        values = [entry[field] for entry in said if entry["event"] == event and field in entry]
        if values:
            rows.append((name, blocks(values), f"{values[0]:.3f}", f"{values[-1]:.3f}"))
    return rows


def blocks(values: Sequence[float], width: int = WIDTH) -> str:
    """The values from left to right, the lowest as the lowest block; more than `width` of them as means of neighbours."""
    if len(values) > width:
        edges = [round(place * len(values) / width) for place in range(width + 1)]
        values = [sum(values[start:end]) / (end - start) for start, end in pairwise(edges)]
    low, high = min(values), max(values)
    if high == low:
        return BLOCKS[0] * len(values)
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int((value - low) / (high - low) * len(BLOCKS)))] for value in values)


def how_far(said: Sequence[dict[str, Any]]) -> str:
    """Of a running job: its share of steps, or of rows to ask, and the time left; else the stage it is in."""
    last = next((entry for entry in reversed(said) if entry["event"] in ("step", "stage", "candidate", "arm")), None)
    if last is None:
        return ""
    if last["event"] == "stage":
        return str(last["stage"])
    if last["event"] == "arm":
        return f"{100 * last['share']:.0f}%, {last['name']}: {of_arm(last)}"
    minutes, seconds = divmod(round(last["seconds_left"]), 60)
    done, of = (last["step"], last["steps"]) if last["event"] == "step" else (last["at"], max(1, last["of"]))
    return f"{100 * done / of:.0f}%, {minutes}:{seconds:02d} left"


def of_arm(said: dict[str, Any]) -> str:
    """What a bake-off says of the arm it is at."""
    if said["stage"] == "failed":
        return f"not played: {said['failure']}"
    if said["stage"] == "ended":
        return f"{said['mean']:.3f} on {said['n']} rows, in {said['spent_s']:.0f} s"
    return f"{said['stage']}, {said['run']}" if said["run"] else str(said["stage"])
