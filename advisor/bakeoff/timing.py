"""How long a cell will take, from what was guessed and what the cells before it took. Knows no clock: cells say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from advisor.bakeoff.contract import Arm, Cell

FIXED_SHARE = 0.3
"""Of making an arm: opening models and scoring, which fewer rows do not shorten. Only until two sizes were played."""
KNOWN_AFTER_S = 120.0
"""Of playing: before, how long things took says more of opening them than of how fast this machine is."""


@dataclass
class Timing:
    rows: int
    """All there are."""
    cells: list[Cell] = field(default_factory=list)
    """Played so far."""
    guessed: dict[str, float] = field(default_factory=dict)
    """By arm, with all rows."""

    def expected(self, arm: Arm, rows: int) -> float:
        """Seconds of making and asking."""
        own = sorted((cell for cell in self.cells if cell.arm == arm.name and cell.values), key=lambda cell: cell.rows)
        if own:
            return self._made(own, rows) + own[-1].asking_s
        share = FIXED_SHARE + (1 - FIXED_SHARE) * rows / self.rows
        return self._pace() * (arm.making_s * share + arm.asking_s)

    def begun(self, arm: Arm, rows: int) -> None:
        """Remembers what was guessed without the pace, so that guess and truth can be compared."""
        share = FIXED_SHARE + (1 - FIXED_SHARE) * rows / self.rows
        self.guessed.setdefault(arm.name, arm.making_s * share + arm.asking_s)

    def _made(self, own: Sequence[Cell], rows: int) -> float:
        last = own[-1]
        if last.rows == rows:
            return last.making_s
        other = next((cell for cell in reversed(own) if cell.rows != last.rows), None)
        if other is not None:
            each = max(0.0, (last.making_s - other.making_s) / (last.rows - other.rows))
            return last.making_s + each * (rows - last.rows)
        return last.making_s * (FIXED_SHARE + (1 - FIXED_SHARE) * rows / last.rows)

    def _pace(self) -> float:
        """How many times what was guessed the arms took so far, by their first cells."""
        first: dict[str, Cell] = {}
        for cell in self.cells:
            if cell.values and cell.arm in self.guessed:
                first.setdefault(cell.arm, cell)
        guessed = sum(self.guessed[name] for name in first)
        took = sum(cell.making_s + cell.asking_s for cell in first.values())
        return (took + KNOWN_AFTER_S) / (guessed + KNOWN_AFTER_S)
