"""The course of a bake-off: which cell is played next, which arm is left out, and when it ends with a verdict.

The arm foretold to gain most over the leader comes next, with all rows if it is the first that learns; those after it climb
rungs of rows, and one is left behind only where its extrapolated best lies below what the leader is sure of. Where nothing is
foretold, the cheapest comes first. Every decision follows from the cells before it and from nothing else, so a bake-off that
was killed comes to the same end from any number of its first cells. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from advisor.bakeoff.bounds import Bounds, bounds, seed_noise
from advisor.bakeoff.contract import Arm, Cell, Left, Outcome, Plan, Player, Unplayable, mean_values
from advisor.bakeoff.timing import Timing
from advisor.bakeoff.worth import burden, duration, expected_gain, not_worth
from advisor.verdict import Played, Verdict, verdict

FEWEST_ON_A_RUNG = 32
"""Rows; below, a score is mostly luck, and climbing only costs time."""
UNTAUGHT = "zero_shot"
"""The arm that is the base as it is."""

Begun = Callable[[Arm, int, int, float], None]


def rungs(rows: int) -> tuple[int, ...]:
    """A quarter, half and all of the rows; all at once where a quarter would be few."""
    return (rows // 4, rows // 2, rows) if rows // 4 >= FEWEST_ON_A_RUNG else (rows,)


def bake_off(
    arms: Sequence[Arm], plan: Plan, player: Player, *, known: Sequence[Cell] = (),
    on_begin: Begun = lambda arm, rows, seed, expected_s: None, on_cell: Callable[[Cell], None] = lambda cell: None,
) -> Outcome:  # fmt: skip
    """Plays the arms. `known`: the first cells of the same bake-off, which was cut off; they are not played again.

    `on_begin` hears of each cell that is begun, `on_cell` gets it when it has ended, before anything rests on it.
    """
    return _Course(arms, plan, player, known, on_begin, on_cell).run()


class _Course:
    def __init__(
        self, arms: Sequence[Arm], plan: Plan, player: Player, known: Sequence[Cell], on_begin: Begun,
        on_cell: Callable[[Cell], None],
    ) -> None:  # fmt: skip
        self.arms = sorted(arms, key=lambda arm: (arm.name != UNTAUGHT, arm.making_s + arm.asking_s))
        self.plan, self.player = plan, player
        self._known = {cell.key: cell for cell in known}
        self._on_begin, self._on_cell = on_begin, on_cell
        self.timing = Timing(plan.rows)
        self.left: dict[str, Left] = {}

    @property
    def cells(self) -> list[Cell]:
        return self.timing.cells

    def run(self) -> Outcome:
        waiting = list(self.arms)
        while waiting:
            arm = self._next(waiting)
            waiting.remove(arm)
            self._begin(arm, self._ladder(arm))
        climbing = [arm for arm in self.arms if arm.learns]
        for rung in self.plan.rungs[1:]:
            self._leave_behind()
            still = [arm for arm in climbing if arm.name not in self.left and not self._has(arm, self.plan.rows)]
            for arm in self._affordable(still, rung):
                self._play(arm, rung)
        self._more_seeds()
        burdens = {arm.name: self._burden(arm) for arm in self.arms}
        return Outcome(
            self.plan, tuple(arm.name for arm in self.arms), tuple(self.cells), tuple(self.left.values()), self._verdict(),
            burdens,
        )  # fmt: skip

    def _next(self, waiting: Sequence[Arm]) -> Arm:
        """The base as it is, those that were asked for by name or are known, then whichever may gain most. `waiting`: cheapest
        first."""
        leader = self._leader()
        before = [arm for arm in waiting if arm.name == UNTAUGHT or arm.predicted is None or arm.name in self.plan.played]
        if leader is None or before:
            return next(iter(before), waiting[0])

        def gain(arm: Arm) -> float:
            return expected_gain(arm.predicted, leader[1] + self._burden(arm)) if arm.predicted else 0.0

        return max(waiting, key=gain)

    def _ladder(self, arm: Arm) -> list[int]:
        """The rungs it would climb: all, or only the last where climbing saves nothing, there is no time for it, or others are
        to be held against it: of those that learn, the one foretold to gain most."""
        left_s, rungs_ = self._left_s(), list(self.plan.rungs)
        is_first = arm.predicted is not None and not any(one.learns for one in self.arms if self._of(one))
        if not arm.learns or not arm.climbs or is_first:
            return rungs_[-1:]
        if left_s is None or sum(self.timing.expected(arm, rows) for rows in rungs_) <= left_s:
            return rungs_
        return rungs_[-1:]

    def _begin(self, arm: Arm, ladder: Sequence[int]) -> None:
        """Plays the first rung of its ladder, unless it is not worth it or there is no time for the whole of it; what is known
        costs nothing."""
        if arm.name in self.plan.played:
            self._play(arm, self.plan.rows)
            return
        expected_s, left_s = sum(self.timing.expected(arm, rows) for rows in ladder), self._left_s()
        reason = not_worth(arm.predicted, self._burden(arm), expected_s, self._leader(), self.plan.profile)
        if reason is None and left_s is not None and expected_s > left_s:
            reason = f"it would take about {duration(expected_s)}, and {duration(left_s)} are left"
        if reason is not None:
            self.left[arm.name] = Left(arm.name, "not begun", 0, reason)
            return
        self._play(arm, ladder[0])

    def _play(self, arm: Arm, rows: int, seed: int = 0) -> Cell | None:
        """The cell, known or played now; None where the arm is out by it."""
        left_s = self._left_s()
        self.timing.begun(arm, rows)
        cell = self._known.pop((arm.name, rows, seed), None)
        if cell is None:
            self._on_begin(arm, rows, seed, self.timing.expected(arm, rows))
            try:
                cell = self.player.play(arm.name, rows, seed, left_s)
            except Unplayable as out:
                cell = Cell(arm.name, rows, seed, spent_s=out.spent_s, failure=out.message, goes_on=out.goes_on)
            self._on_cell(cell)
        self.cells.append(cell)
        if cell.failure and seed == 0 and not (cell.goes_on and rows < self.plan.rows):
            self.left[arm.name] = Left(arm.name, "failed", self._most_rows(arm), cell.failure)
        return cell if cell.values else None

    def _leave_behind(self) -> None:
        """Drops arms that will not come up to what the leader is sure of."""
        ends = {arm.name: self._bounds(arm) for arm in self.arms if arm.name not in self.left}
        sure = {name: one.low for name, one in ends.items() if one is not None}
        if not sure:
            return
        leader = max(sure, key=lambda name: sure[name])
        for arm in self.arms:
            one = ends.get(arm.name)
            if one is not None and arm.learns and not self._has(arm, self.plan.rows) and one.high < sure[leader]:
                rows = self._most_rows(arm)
                reason = (
                    f"from its scores with up to {rows:,} rows it will reach at most {one.high:.2f} with {self.plan.rows:,}, "
                    f"and {leader} has at least {sure[leader]:.2f}"
                )
                self.left[arm.name] = Left(arm.name, "dropped", rows, reason)

    def _affordable(self, arms: Sequence[Arm], rung: int) -> list[Arm]:
        """Those there is time for, the most promising chosen first, to be played cheapest first."""
        left_s = self._left_s()
        if left_s is None:
            return list(arms)
        ahead = [rows for rows in self.plan.rungs if rows >= rung]
        taken = set()
        for arm in sorted(arms, key=lambda arm: -self._promise(arm)):
            expected_s = sum(self.timing.expected(arm, rows) for rows in ahead)
            if expected_s <= left_s:
                left_s -= expected_s
                taken.add(arm.name)
            else:
                reason = f"going on would take about {duration(expected_s)}, and {duration(left_s)} are left"
                self.left[arm.name] = Left(arm.name, "dropped", self._most_rows(arm), reason)
        return [arm for arm in arms if arm.name in taken]

    def _more_seeds(self) -> None:
        """Where luck of a seed is as large as what lies between two arms that may win."""
        first = self._verdict()
        if first is None or len(first.scores) < 2:
            return
        best = first.scores[first.leader].mean
        for seed in range(1, self.plan.seeds):
            for arm in self.arms:
                if arm.name in first.scores and self._is_close(arm, first, best) and self._has_time(arm):
                    self._play(arm, self.plan.rows, seed)

    def _is_close(self, arm: Arm, first: Verdict, best: float) -> bool:
        noise = seed_noise(arm, self.plan.rows)
        others = [mean.mean for name, mean in first.scores.items() if name != first.leader]
        nearest = max(others) if arm.name == first.leader else first.scores[arm.name].mean
        return noise > 0 and best - nearest < 2 * noise

    def _has_time(self, arm: Arm) -> bool:
        left_s = self._left_s()
        return left_s is None or self.timing.expected(arm, self.plan.rows) <= left_s

    def _verdict(self) -> Verdict | None:
        played = self._at_the_end()
        return verdict(played) if played else None

    def _at_the_end(self) -> Mapping[str, Played]:
        ended: dict[str, Played] = {}
        for arm in self.arms:
            cells = [cell for cell in self._of(arm) if cell.rows == self.plan.rows]
            if cells and arm.name not in self.left:
                ended[arm.name] = Played(mean_values(cells), self._burden(arm))
        return ended

    def _leader(self) -> tuple[str, float] | None:
        """The arm that is worth most so far, by its score with the most rows it was played with, less its burden."""
        worth = {arm.name: self._latest(arm).score - self._burden(arm) for arm in self.arms if self._of(arm)}
        name = max(worth, key=lambda name: worth[name], default=None)
        return None if name is None else (name, worth[name])

    def _promise(self, arm: Arm) -> float:
        ends = self._bounds(arm)
        return (1.0 if ends is None else ends.high) - self._burden(arm)

    def _bounds(self, arm: Arm) -> Bounds | None:
        untaught = next((cell.score for cell in self.cells if cell.arm == UNTAUGHT and cell.values), None)
        return bounds(arm, self._of(arm), untaught, self.plan.rows)

    def _burden(self, arm: Arm) -> float:
        untaught = next((cell for cell in self.cells if cell.arm == UNTAUGHT), None)
        return burden(arm.name, self.plan, self._latest(arm) if self._of(arm) else None, untaught)

    def _left_s(self) -> float | None:
        if self.plan.budget_s is None:
            return None
        return max(0.0, self.plan.budget_s - sum(cell.spent_s for cell in self.cells))

    def _of(self, arm: Arm) -> list[Cell]:
        return [cell for cell in self.cells if cell.arm == arm.name and cell.values]

    def _latest(self, arm: Arm) -> Cell:
        return max(self._of(arm), key=lambda cell: (cell.rows, -cell.seed))

    def _has(self, arm: Arm, rows: int) -> bool:
        return any(cell.rows == rows for cell in self._of(arm))

    def _most_rows(self, arm: Arm) -> int:
        return max((cell.rows for cell in self._of(arm)), default=0)
