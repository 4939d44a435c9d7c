"""What a run says of its course, read from outside: every line, the lines that are new, and a table of them.

The run appends to its metrics.jsonl and neither knows nor minds that somebody reads. Knows no queue.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

METRICS = "metrics.jsonl"
RESULT_COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
"""As in the hosted service's result files; what no run measures stays blank."""


class Tail:
    """Lines that another process appends to a run's metrics, each once it is whole."""

    def __init__(self, run: Path, position: int = 0) -> None:
        self._path = run / METRICS
        self.position = position
        """Bytes read; where a later reader goes on."""

    def new(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self.position)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.position += len(line)
                yield json.loads(line)


def read(run: Path) -> list[dict[str, Any]]:
    """Everything the run has said so far; nothing where it has not begun."""
    return list(Tail(run).new())


def by_step(said: list[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """Losses of every step, in nats per token: `train_loss` of its batch, `full_valid_loss` of all validation rows at an
    epoch's end. A step that a killed process took and the next one took again counts once, as it was taken last."""
    found: dict[int, dict[str, float]] = {}
    for event in said:
        if event["event"] == "step":
            found[event["step"]] = {"train_loss": event["loss"]}
        elif event["event"] == "validation":
            found.setdefault(event["step"], {})["full_valid_loss"] = event["loss"]
    return dict(sorted(found.items()))


def trained_tokens(said: list[dict[str, Any]]) -> int:
    """Tokens of all rows learned from, counted as often as they were."""
    return sum({event["step"]: event.get("tokens", 0) for event in said if event["event"] == "step"}.values())


def results_csv(run: Path) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(RESULT_COLUMNS)
    for step, losses in by_step(read(run)).items():
        table.writerow((step, _told(losses, "train_loss"), "", _told(losses, "full_valid_loss"), ""))
    return text.getvalue().encode()


def _told(losses: Mapping[str, float], name: str) -> str:
    return f"{losses[name]:.5f}" if name in losses else ""
