"""Which cells the table has, in which order they are played, and the file they end up in, a line each.

Several processes fill one file: each takes the next cell that nobody has taken. Knows neither tasks nor how a cell is played.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIZES = (16, 64, 256, 1024)


@dataclass(frozen=True, slots=True)
class Arm:
    fixed_s: float
    """What a cell takes on a GPU, roughly, and on top a row learned from: enough to tell a long one from a short one."""
    row_s: float = 0.0
    sized: bool = True
    """Whether it uses labelled rows at all; if not it is played once."""
    needs: str = ""
    """`labels` or `documents`, where only such tasks have it."""
    sizes: tuple[int, ...] = SIZES
    seeds: tuple[int, ...] = (0, 1, 2)
    matters: bool = True
    """If not it is played when all others are: it takes long, and loses below some billions of parameters (Lester, 2021)."""


ARMS: dict[str, Arm] = {
    "zero_shot": Arm(2, sized=False),
    "zero_shot_choices": Arm(12, sized=False, needs="labels"),
    "few_shot": Arm(2),
    "knn": Arm(2),
    "many_shot": Arm(6),
    "head": Arm(1, 0.005, needs="labels"),
    "lora": Arm(4, 0.02),
    "full": Arm(4, 0.015),
    "prompt_tuning": Arm(20, 0.03, sizes=(256, 1024), seeds=(0,), matters=False),
    "rag": Arm(3, sized=False, needs="documents"),
    "oracle": Arm(2, sized=False, needs="documents"),
    "rag+lora": Arm(6, 0.03, needs="documents"),
}


@dataclass(frozen=True, slots=True)
class Cell:
    task: str
    arm: str
    n: int
    seed: int

    @property
    def guess_s(self) -> float:
        return ARMS[self.arm].fixed_s + ARMS[self.arm].row_s * self.n

    @property
    def name(self) -> str:
        return f"{self.task}-{self.arm}-{self.n}-{self.seed}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What part of the table is wanted."""

    sizes: Sequence[int]
    seeds: Sequence[int]
    arms: Sequence[str]


def of_task(task: str, have: Iterable[str], most_rows: int, asked: Asked) -> list[Cell]:
    """`have`: what of `labels` and `documents` the task has."""
    cells = []
    for name in asked.arms:
        arm = ARMS[name]
        if arm.needs and arm.needs not in have:
            continue
        if not arm.sized:
            cells += [Cell(task, name, 0, 0)] if 0 in asked.seeds else []
            continue
        sizes = [size for size in asked.sizes if size in arm.sizes and size <= most_rows]
        cells += [Cell(task, name, size, seed) for size in sizes for seed in asked.seeds if seed in arm.seeds]
    return cells


def in_order(cells: Iterable[Cell]) -> list[Cell]:
    """A whole seed before the next, a task after the other, long cells first: cut off anywhere, what is there is whole."""
    return sorted(cells, key=lambda cell: (not ARMS[cell.arm].matters, cell.seed, cell.task, -cell.guess_s, cell.arm))


def done(out: Path, base: str) -> set[Cell]:
    """Of this base; cells that failed are not among them."""
    if not out.is_file():
        return set()
    lines = [json.loads(line) for line in out.read_text().splitlines() if line.strip()]
    return {Cell(one["task"], one["arm"], one["n"], one["seed"]) for one in lines if one["base"] == base and "error" not in one}


def take(claims: Path, cell: Cell) -> bool:
    """Whether the cell is ours: the first to make its file has it."""
    try:
        os.close(os.open(claims / cell.name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def append(out: Path, line: dict[str, Any]) -> None:
    with out.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
