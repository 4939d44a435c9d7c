"""What a bake-off is made of: arms, cells that were played, and what came of it. Knows no model, no file and no gateway.

An arm is a method with its recipe; a cell is one arm made from so many rows with one seed and asked the frozen rows. Whoever
runs a bake-off brings a `Player`, which makes and asks.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from adapters.errors import GraftError
from adapters.evaluation.scorecard import Mean, mean_of
from advisor.evidence import Evidence, Found
from advisor.predicting.contract import Predicted
from advisor.utility import DEFAULT
from advisor.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Arm:
    name: str
    """A candidate of `advisor.candidates`."""
    learns: str = ""
    """How it gets better with rows, a family of `curves.FORMS`; empty where a few rows are as good as all."""
    climbs: bool = True
    """It is made from few rows first, where it learns: what that costs is less than what it may save."""
    is_noisy: bool = False
    """Another seed makes another model."""
    making_s: float = 0.0
    """What making it from all rows may take, as far as that is known before anything was played."""
    asking_s: float = 0.0
    """The same, of asking the frozen rows."""
    predicted: Predicted | None = None
    """What an advice foretells of it; None: it is played in any case, for it was asked for by name."""


@dataclass(frozen=True, slots=True)
class Cell:
    arm: str
    rows: int
    seed: int
    values: tuple[float, ...] = ()
    """How good each answer was, 0 to 1, in the order of the frozen rows; empty where it could not be played."""
    making_s: float = 0.0
    asking_s: float = 0.0
    prompt_tokens: float = 0.0
    """Of a question as it was asked, on average."""
    spent_s: float = 0.0
    """What it took this bake-off: nothing where the cell was known from another."""
    validation: float | None = None
    """How it did on rows of its own, the higher the better: tells seeds apart without looking at the frozen rows."""
    draft: str = ""
    """Where the player keeps what it made; opaque here."""
    failure: str = ""
    """Why it could not be played."""
    goes_on: bool = False
    """It failed for want of rows, and may be played with more."""

    @property
    def key(self) -> tuple[str, int, int]:
        return self.arm, self.rows, self.seed

    @property
    def score(self) -> float:
        return statistics.fmean(self.values)

    def mean(self) -> Mean:
        """With its 95 % interval."""
        return mean_of(self.values, 0)


class Unplayable(GraftError):
    """An arm cannot be made or served here; the message says why. The bake-off goes on without it."""

    code = "arm_unplayable"

    def __init__(self, message: str, *, spent_s: float = 0.0, goes_on: bool = False) -> None:
        super().__init__(message, param="methods")
        self.spent_s = spent_s
        """What was spent until that was known."""
        self.goes_on = goes_on
        """More rows may do."""


class OutOfTime(Unplayable):
    """An arm did not end within the time it was given."""

    code = "arm_out_of_time"


class Player(Protocol):
    def play(self, arm: str, rows: int, seed: int, within_s: float | None) -> Cell:
        """Makes the arm from the first so many rows and asks it the frozen rows. Raises Unplayable, or OutOfTime where it
        has not ended after `within_s`; whatever else it raises ends the bake-off, which can go on from its cells."""


@dataclass(frozen=True, slots=True)
class Plan:
    rows: int
    """Labelled rows there are, besides the frozen ones."""
    rungs: tuple[int, ...]
    """Numbers of rows, rising, the last of them all."""
    budget_s: float | None = None
    seeds: int = 3
    """Most, of an arm that is noisy."""
    profile: str = DEFAULT
    found: Found = field(default_factory=dict)
    """Complete evidence, for what each arm costs to make and to serve."""
    played: tuple[str, ...] = ()
    """Arms that another bake-off has played with all rows: what they score is known at no cost."""


@dataclass(frozen=True, slots=True)
class Left:
    """An arm that did not get to the end."""

    arm: str
    how: str
    """`not begun`, `dropped` or `failed`."""
    rows: int
    """The most that it was played with; 0 where it was not."""
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    plan: Plan
    arms: tuple[str, ...]
    """Every one there was, cheapest first."""
    cells: tuple[Cell, ...]
    left: tuple[Left, ...]
    verdict: Verdict | None
    """None where no arm got to the end."""
    burdens: Mapping[str, float]
    """What is taken off each one's quality by the profile, with what was measured of its cost."""

    @property
    def spent_s(self) -> float:
        return sum(cell.spent_s for cell in self.cells)

    @property
    def compute_s(self) -> float:
        """What all cells take that this outcome rests on, whenever they were played."""
        return sum(cell.making_s + cell.asking_s for cell in self.cells)

    def final(self, arm: str) -> list[Cell]:
        """The arm's cells with all rows, by seed; none where it did not get there."""
        return [cell for cell in self.cells if cell.arm == arm and cell.rows == self.plan.rows and cell.values]

    def chosen(self, arm: str) -> Cell:
        """Of the arm's seeds the one that did best on its own validation rows. The arm got to the end."""
        return max(self.final(arm), key=lambda cell: (cell.validation is not None, cell.validation or 0.0, -cell.seed))

    def evidence(self) -> list[Evidence]:
        """`score.<arm>` for every arm that got to the end, as the advisor reads it."""
        made = []
        for arm, mean in self.verdict.scores.items() if self.verdict else ():
            cells = self.final(arm)
            seeds = "" if len(cells) == 1 else f", mean of {len(cells)} seeds"
            how = f"measured: made from {self.plan.rows:,} rows and asked by name on the frozen rows{seeds}"
            interval = (round(mean.interval[0], 4), round(mean.interval[1], 4))
            made.append(Evidence(f"score.{arm}", round(mean.mean, 4), "share", how, len(cells[0].values), interval))
        return made

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.plan.rows, "rungs": list(self.plan.rungs), "profile": self.plan.profile,
            "budget_s": self.plan.budget_s, "spent_s": round(self.spent_s, 1), "compute_s": round(self.compute_s, 1),
            "arms": [self._arm(name) for name in self.arms],
            "cells": [_cell(cell) for cell in self.cells],
            "verdict": None if self.verdict is None else self.verdict.to_json(),
        }  # fmt: skip

    def _arm(self, name: str) -> dict[str, Any]:
        played = [cell for cell in self.cells if cell.arm == name and cell.values]
        left = next((one for one in self.left if one.arm == name), None)
        most = max((cell.rows for cell in played), default=0)
        shown = [cell for cell in played if cell.rows == most]
        together = mean_of(mean_values(shown), 0) if shown else None
        return {
            "arm": name, "rows": most, "seeds": len(shown), "score": together and together.to_json(),
            "making_s": round(sum(cell.making_s for cell in shown), 1),
            "asking_s": round(sum(cell.asking_s for cell in shown), 1),
            "prompt_tokens": round(shown[0].prompt_tokens, 1) if shown else None, "burden": round(self.burdens[name], 4),
            "how": left.how if left else "played", "reason": left.reason if left else "",
        }  # fmt: skip


def mean_values(cells: Sequence[Cell]) -> tuple[float, ...]:
    """Row by row over seeds. All were asked the same rows; at least one cell."""
    return tuple(statistics.fmean(row) for row in zip(*(cell.values for cell in cells), strict=True))


def _cell(cell: Cell) -> dict[str, Any]:
    score = cell.mean().to_json() if cell.values else None
    return {
        "arm": cell.arm, "rows": cell.rows, "seed": cell.seed, "score": score, "making_s": round(cell.making_s, 1),
        "asking_s": round(cell.asking_s, 1), "spent_s": round(cell.spent_s, 1),
        "prompt_tokens": round(cell.prompt_tokens, 1), "failure": cell.failure or None,
    }  # fmt: skip
