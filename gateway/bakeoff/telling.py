"""Tells the course of a bake-off, line by line in its folder's metrics.jsonl: which arm, on which rung, how far it all is.

Whoever watches reads the file. Knows no arm's insides.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from adapters.tuning.progress import Progress
from advisor.bakeoff.contract import Arm, Cell, Plan

EVERY_S = 1.0
"""Between two words about the same stage."""


class Telling:
    """Shares are of guessed time: what was guessed for the cells that have ended, of that for all there may be."""

    def __init__(self, progress: Progress, arms: Sequence[Arm], plan: Plan, known: Sequence[Cell]) -> None:
        self._progress = progress
        self._guess = {
            (arm.name, rows): arm.making_s * rows / plan.rows + arm.asking_s + 1.0
            for arm in arms
            for rows in (plan.rungs if arm.learns and arm.climbs else (plan.rows,))
        }
        self._ended: set[tuple[str, int]] = {(cell.arm, cell.rows) for cell in known}
        self._now: tuple[str, int, int] = ("", 0, 0)
        self._began = self._told_at = 0.0
        self._expected_s = 0.0
        self._stage, self._run = "", ""

    def begin(self, arm: Arm, rows: int, seed: int, expected_s: float) -> None:
        self._now, self._began, self._expected_s = (arm.name, rows, seed), time.monotonic(), expected_s
        self._stage = self._run = ""

    def stage(self, stage: str, said: dict[str, Any]) -> None:
        """What the arm is at, with an event of its run; heard at most once a second."""
        now, self._run = time.monotonic(), _course(said) or self._run
        if stage == self._stage and now - self._told_at < EVERY_S:
            return
        self._stage, self._told_at = stage, now
        left_s = max(0.0, self._expected_s - (now - self._began))
        self._tell(stage, within=self._within(now), seconds_left=round(left_s, 1), run=self._run)

    def end(self, cell: Cell) -> None:
        self._ended.add((cell.arm, cell.rows))
        self._now = cell.key
        mean = round(cell.score, 4) if cell.values else None
        self._tell(
            "failed" if cell.failure else "ended", seconds_left=0.0, mean=mean, n=len(cell.values),
            prompt_tokens=round(cell.prompt_tokens, 1), spent_s=round(cell.spent_s, 1), failure=cell.failure or None,
        )  # fmt: skip

    def _within(self, now: float) -> float:
        return min(0.95, (now - self._began) / self._expected_s) if self._expected_s else 0.0

    def _tell(self, stage: str, within: float = 0.0, **more: Any) -> None:
        arm, rows, seed = self._now
        done = sum(guess for key, guess in self._guess.items() if key in self._ended)
        done += within * self._guess.get((arm, rows), 0.0) * ((arm, rows) not in self._ended)
        share = min(1.0, done / sum(self._guess.values()))
        name = f"{arm}, {rows:,} rows" + (f", seed {seed}" if seed else "")
        self._progress.event("arm", name=name, arm=arm, rows=rows, seed=seed, stage=stage, share=round(share, 4), **more)


def _course(said: dict[str, Any]) -> str:
    if said.get("event") == "step":
        return f"step {said['step']}/{said['steps']}"
    return str(said["stage"]) if said.get("event") == "stage" else ""
