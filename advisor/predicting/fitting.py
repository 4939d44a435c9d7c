"""Figures out of outcomes: from what methods scored, and what was measured before, to the moments that forecasts are made of.

Every task weighs the same, however many cells it has. How far forecasts are off is measured on tasks that were left out, never
on those learned from; the ridge, too, is chosen that way. Needs numpy; is no part of giving advice.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from advisor.evidence import Found
from advisor.predicting import regression
from advisor.predicting.contract import NORMAL_90, logit
from advisor.predicting.features import FAMILIES, FEATURES, Seen, family, seen
from advisor.predicting.figures import Arm
from advisor.predicting.measured import OWN_FEATURE

FEWEST_TASKS = 4
RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Tasks' worth of a feature's variance between tasks that is added to its own; told apart by tasks left out."""
FAMILY_PRIOR = 1.0
"""Tasks that the mean of all families counts as, in the mean of each."""
MOST_INFLATION = 4.0
FEWEST_RESIDUALS = 30


Key = tuple[str, str, int, int]
"""Of a setting: task, base, rows, seed."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A task with so many of its rows: what was known before, and what each method scored."""

    task: str
    n: int
    seed: int
    found: Found
    scores: Mapping[str, float]
    """By method."""
    base: str = ""
    """Tasks are left out with all their bases."""

    @property
    def key(self) -> Key:
        return self.task, self.base, self.n, self.seed


@dataclass(frozen=True, slots=True)
class Cell:
    task: str
    key: Key
    family: str
    seen: Mapping[str, Seen]
    z: float


@dataclass(frozen=True, slots=True)
class Residual:
    """Of a forecast for a task that was left out: in logits, and in its own spread."""

    method: str
    key: Key
    error: float
    variance: float


def cells_of(settings: Iterable[Setting]) -> dict[str, list[Cell]]:
    """By method. What is played without rows stands in every setting of its task, and counts once for each number of rows."""
    made: dict[str, list[Cell]] = defaultdict(list)
    for one in settings:
        kind, known = family(one.found), seen(one.found)
        for method, score in one.scores.items():
            made[method].append(Cell(one.task, one.key, kind, known, logit(score)))
    return dict(made)


def arm(method: str, cells: Sequence[Cell], ridge: float) -> Arm:
    """The method's moments. `cells` is not empty."""
    names = [name for name in FEATURES if name != OWN_FEATURE.get(method) and any(name in cell.seen for cell in cells)]
    tasks = {cell.task for cell in cells}
    weight = _weights(cells)
    z = np.array([cell.z for cell in cells])
    x = np.array([[cell.seen[name].value if name in cell.seen else np.nan for name in names] for cell in cells])
    x = x.reshape(len(cells), len(names))
    kinds = np.array([cell.family for cell in cells])
    family_z = {kind: float(_mean(z[:, None], weight, kinds == kind)[0]) for kind in FAMILIES}
    family_x = {kind: _mean(x, weight, kinds == kind) for kind in FAMILIES}
    dz = z - np.array([family_z[kind] for kind in kinds])
    # what is not known says nothing either way
    dx = np.nan_to_num(x - np.array([family_x[kind] for kind in kinds]).reshape(x.shape))
    xx, xz = ((dx * weight[:, None]).T @ one / weight.sum() for one in (dx, dz))
    added = ridge * _between(dx, weight, [cell.task for cell in cells]) / len(tasks) + 1e-6
    noise = [float(np.mean([cell.seen[name].noise for cell in cells if name in cell.seen])) for name in names]
    return Arm(
        features=tuple(names), family_z=family_z,
        family_tasks={kind: len({cell.task for cell in cells if cell.family == kind}) for kind in FAMILIES},
        family_x={kind: tuple(map(float, values)) for kind, values in family_x.items()},
        xx=tuple(tuple(map(float, row)) for row in xx + np.diag(added)), xz=tuple(map(float, xz)),
        zz=float((weight * dz * dz).sum() / weight.sum()), noise=tuple(noise), inflation=1.0,
        tasks=len(tasks), cells=len(cells),
    )  # fmt: skip


def _weights(cells: Sequence[Cell]) -> Any:
    counts: dict[str, int] = defaultdict(int)
    for cell in cells:
        counts[cell.task] += 1
    return np.array([1 / counts[cell.task] for cell in cells])


def _between(dx: Any, weight: Any, tasks: Sequence[str]) -> Any:
    """Of each feature the variance of its means over tasks. What differs between settings of one task, above all the number of
    rows, is known from all of them; what differs between tasks only, from as many as there are tasks, and is not to be trusted
    as far."""
    places = {task: place for place, task in enumerate(sorted(set(tasks)))}
    member = np.eye(len(places))[[places[task] for task in tasks]] * weight[:, None]
    means = (member.T @ dx) / member.sum(axis=0)[:, None]
    return (means**2).mean(axis=0)


def _mean(values: Any, weight: Any, chosen: Any) -> Any:
    """Of the chosen rows, drawn towards that of all by FAMILY_PRIOR tasks; gaps do not count."""
    there = ~np.isnan(values)
    held = np.nan_to_num(values)

    def sums(rows: Any) -> tuple[Any, Any]:
        mine = weight[rows, None] * there[rows]
        return (mine * held[rows]).sum(axis=0), mine.sum(axis=0)

    total, count = sums(np.ones(len(values), dtype=bool))
    every = total / np.maximum(count, 1e-9)
    part, tasks = sums(chosen)
    return (part + FAMILY_PRIOR * every) / (tasks + FAMILY_PRIOR)


def left_out(method: str, cells: Sequence[Cell], ridge: float) -> list[Residual]:
    """The errors of forecasts for each task from the others alone."""
    made = []
    for task in sorted({cell.task for cell in cells}):
        others = arm(method, [cell for cell in cells if cell.task != task], ridge)
        for cell in cells:
            if cell.task == task:
                said = regression.forecast(others, cell.seen, cell.family)
                made.append(Residual(method, cell.key, cell.z - said.mean, said.variance))
    return made


def fit(settings: Sequence[Setting], made_from: str) -> dict[str, Any]:
    """What `outcomes.json` holds but for what whole forecasts are needed for (`calibration.py`). Methods of fewer than
    FEWEST_TASKS tasks are left out, and rest on rules and on what is measured of them."""
    cells = {method: some for method, some in cells_of(settings).items() if len({cell.task for cell in some}) >= FEWEST_TASKS}
    tried = {ridge: [one for method, some in cells.items() for one in left_out(method, some, ridge)] for ridge in RIDGES}
    ridge = min(RIDGES, key=lambda one: _loss(tried[one], cells)) if cells else RIDGES[-1]
    residuals = tried[ridge]
    arms = {}
    for method, some in cells.items():
        mine = [one for one in residuals if one.method == method]
        ratio = _by_task(mine, lambda one: one.error**2) / _by_task(mine, lambda one: one.variance)
        inflation = min(MOST_INFLATION, max(1.0, ratio))
        arms[method] = dataclasses.replace(arm(method, some, ridge), inflation=inflation)
    return {
        "made_from": made_from, "ridge": ridge, "shared": _shared(residuals), "reach": NORMAL_90,
        "arms": {method: to_json(one) for method, one in sorted(with_stand_ins(arms).items())},
    }  # fmt: skip


def with_stand_ins(arms: Mapping[str, Arm]) -> dict[str, Arm]:
    """LoRA and full tuning are level on sets of this size (Schulman et al., 2025): of the two, one stands in for the other with
    half as much variance again."""
    made = dict(arms)
    for missing, other in (("full", "lora"), ("lora", "full")):
        if missing not in arms and other in arms:
            made[missing] = dataclasses.replace(arms[other], inflation=1.5 * arms[other].inflation)
    return made


def to_json(one: Arm) -> dict[str, Any]:
    def short(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: short(each) for name, each in value.items()}
        if isinstance(value, tuple | list):
            return [short(each) for each in value]
        return round(value, 4) if isinstance(value, float) else value

    return {name: short(value) for name, value in dataclasses.asdict(one).items()}


def _loss(residuals: Sequence[Residual], cells: Mapping[str, Sequence[Cell]]) -> float:
    """Mean squared error, of each method in its own variance."""
    spread = {method: float(np.var([cell.z for cell in some])) + 1e-6 for method, some in cells.items()}
    return _by_task(residuals, lambda one: one.error**2 / spread[one.method])


def _by_task(residuals: Sequence[Residual], value: Any) -> float:
    sums: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in residuals:
        sums[one.method, one.key[0]].append(value(one))
    return float(np.mean([np.mean(some) for some in sums.values()]))


def _shared(residuals: Sequence[Residual]) -> float:
    """Mean product of two methods' errors in one setting, over the mean square of all."""
    rows: dict[Key, list[float]] = defaultdict(list)
    for one in residuals:
        rows[one.key].append(one.error / math.sqrt(one.variance))
    products = [a * b for some in rows.values() for i, a in enumerate(some) for b in some[i + 1 :]]
    squares = [value * value for some in rows.values() for value in some]
    if len(products) < FEWEST_RESIDUALS:
        return 0.5
    return round(min(0.95, max(0.0, float(np.mean(products)) / float(np.mean(squares)))), 3)
