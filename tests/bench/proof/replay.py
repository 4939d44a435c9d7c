"""Bake-offs played again from the outcome table: what they would choose by half of the test rows, judged on the other half.

The bake-off itself is the product's (`advisor.bakeoff`), its arms those that the advice of the case leads with; only making and
asking are looked up, with the seconds they took. Beside it stands successive halving on raw scores, given as much time.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adapters.tuning import shapes
from advisor import advice, ranking, utility
from advisor.bakeoff.arms import arms_of
from advisor.bakeoff.contract import Arm, Cell, Outcome, OutOfTime, Plan, Unplayable
from advisor.bakeoff.playing import bake_off
from advisor.evidence import by_name
from advisor.predicting.figures import Outcomes, published
from advisor.predicting.fitting import Key
from tests.bench.proof.cases import PARAMS_B, Case
from tests.bench.proof.choosing import first_of

SPLITS = 4
"""Ways of halving the test rows, over which everything is averaged."""
FEWER = 4
"""Times fewer rows, on each rung below: the sizes that the table has."""

SHARES = (0.2, 0.5, None)
"""Of the time that playing every arm with all rows takes, as the budget of a bake-off; the last has none."""

Table = Mapping[int, Case]
"""By number of rows: the cases of one task, base and seed."""


@dataclass(frozen=True, slots=True)
class Replayed:
    case: Case
    method: str
    regret: float
    """On the half that was not looked at, against the best by all rows."""
    compute: float
    """Share of the time that playing every arm with all rows takes."""


class Lookup:
    """A `Player` whose cells are those of the table. `rows` of the test set are the frozen ones."""

    def __init__(self, table: Table, frozen: Sequence[int]) -> None:
        self.table, self.frozen = table, frozen

    def play(self, arm: str, rows: int, seed: int, within_s: float | None) -> Cell:
        case = self.table.get(rows)
        if case is None or arm not in case.items or seed:
            raise Unplayable(f"{arm} was not played with {rows} rows")
        values = tuple(case.items[arm][row] for row in self.frozen)
        making_s, asking_s = case.seconds[arm]
        asking_s *= len(values) / len(case.items[arm])
        if within_s is not None and making_s + asking_s > within_s:
            raise OutOfTime("it did not end in time", spent_s=within_s)
        return Cell(arm, rows, seed, values, making_s, asking_s, spent_s=making_s + asking_s)


def proof(played: Sequence[Case], figures: Mapping[str, Outcomes]) -> dict[str, Any]:
    """By profile and budget: mean regret and compute of the bake-off and of successive halving; every task weighs the same."""
    made: dict[str, Any] = {}
    used = {task: ranking.Figures(published(), fitted) for task, fitted in figures.items()}
    for profile in utility.PROFILES:
        advised = {case.setting.key: _advised(case, profile, used[case.task]) for case in played}
        made[profile] = {}
        for share in SHARES:
            budget = "no budget" if share is None else f"{share:.0%} of the oracle's time"
            made[profile][budget] = _replayed(played, advised, used, profile, share)
            print(f"bake-off, profile {profile}, {budget}: {made[profile][budget]}", flush=True)
    return made


def _replayed(
    played: Sequence[Case],
    advised: Mapping[Key, advice.Advice],
    figures: Mapping[str, ranking.Figures],
    profile: str,
    share: float | None,
) -> dict[str, dict[str, float]]:
    ours, halved = [], []
    for case in played:
        table = {one.setting.n: one for one in played if _same(one, case) and one.setting.n <= case.setting.n}
        budget_s = None if share is None else share * case.whole_s
        for split in range(SPLITS):
            frozen, judged = _halves(len(next(iter(case.items.values()))), split)
            arms = _timed(arms_of(advised[case.setting.key], len(frozen)), case, played)
            found = _bake_off(case, table, frozen, profile, arms, budget_s)
            order = ranking.decide({**case.found, **by_name(found.evidence())}, profile, figures[case.task]).order
            ours.append(_judged(case, first_of(order, case.methods), judged, profile, found.compute_s))
            name, spent_s = halving(table, case, frozen, profile, found.compute_s)
            halved.append(_judged(case, name, judged, profile, spent_s))
    return {"bake-off": _summed(ours), "successive halving": _summed(halved)}


def halving(table: Table, case: Case, frozen: Sequence[int], profile: str, budget_s: float) -> tuple[str, float]:
    """(method, seconds spent): all arms on the lowest rung, the better half on the next, by raw score less burden."""
    still, spent_s, best = list(case.methods), 0.0, case.methods[0]
    for rows in sorted(table):
        worth: dict[str, float] = {}
        for method in sorted(still, key=lambda method: table[rows].seconds.get(method, (0.0, 0.0))):
            if method not in table[rows].items:
                continue
            making_s, asking_s = table[rows].seconds[method]
            took_s = making_s + asking_s * len(frozen) / len(table[rows].items[method])
            if spent_s + took_s > budget_s:
                continue
            spent_s += took_s
            values = [table[rows].items[method][row] for row in frozen]
            worth[method] = statistics.fmean(values) - utility.burden(method, case.found, profile)
        if not worth:
            break
        still = sorted(worth, key=lambda method: -worth[method])
        best = still[0]
        still = still[: max(1, len(still) // 2)]
    return best, spent_s


def _advised(case: Case, profile: str, figures: ranking.Figures) -> advice.Advice:
    facts = shapes.typical_shape(PARAMS_B[case.setting.base])
    evidence = [one for name, one in case.found.items() if "." not in name]
    return advice.advise(evidence, facts=facts, profile=profile, figures=figures)


def _timed(arms: Sequence[Arm], case: Case, played: Sequence[Case]) -> list[Arm]:
    """With what making and asking took on the other tasks, as somebody expects who knows the machine."""
    others = [one for one in played if one.task != case.task and one.setting.n == case.setting.n]
    made = []
    for arm in arms:
        known = [one.seconds[arm.name] for one in others if arm.name in one.seconds]
        if known:
            making_s, asking_s = (statistics.fmean(values) for values in zip(*known, strict=True))
            arm = replace(arm, making_s=making_s, asking_s=asking_s / 2)
        made.append(arm)
    return made


def _bake_off(
    case: Case, table: Table, frozen: Sequence[int], profile: str, arms: Sequence[Arm], budget_s: float | None
) -> Outcome:
    rungs = tuple(rows for rows in sorted(table) if rows * FEWER**2 > case.setting.n)
    plan = Plan(case.setting.n, rungs, budget_s, seeds=1, profile=profile, found=case.found)
    return bake_off(arms, plan, Lookup(table, frozen))


def _judged(case: Case, method: str, judged: Sequence[int], profile: str, spent_s: float) -> Replayed:
    def worth(name: str) -> float:
        values = statistics.fmean(case.items[name][row] for row in judged)
        return values - utility.burden(name, case.found, profile)

    whole_s = case.whole_s
    return Replayed(case, method, worth(case.oracle(profile)) - worth(method), spent_s / whole_s)


def _halves(rows: int, split: int) -> tuple[list[int], list[int]]:
    order = random.Random(split).sample(range(rows), rows)
    return sorted(order[: rows // 2]), sorted(order[rows // 2 :])


def _same(one: Case, other: Case) -> bool:
    return (one.task, one.setting.base, one.setting.seed) == (other.task, other.setting.base, other.setting.seed)


def _summed(all_played: Sequence[Replayed]) -> dict[str, float]:
    def mean(value: str) -> float:
        tasks = sorted({one.case.task for one in all_played})
        return statistics.fmean(
            statistics.fmean(getattr(one, value) for one in all_played if one.case.task == task) for task in tasks
        )

    return {"regret": round(mean("regret"), 4), "compute": round(mean("compute"), 3)}
