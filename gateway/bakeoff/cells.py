"""Cells as files: those of one bake-off in the order in which they were played, and all that were ever played here, by what
went into them.

    <bake-off's folder>/cells/<number>.json         of this bake-off
    <home>/bakeoffs/<key>/run/, drafts/, cell.json   a run, the draft it made, and how it was scored; cell.json comes last

A key is the digest of the rows, the recipe, the base, the frozen rows and what answers. Knows no model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapters import folders
from adapters.registry import write_whole
from advisor.bakeoff.contract import Cell

CELLS, CELL, PLAYED = "cells", "cell.json", "bakeoffs"


def known(folder: Path) -> list[Cell]:
    """Of this bake-off, in order."""
    return [_read(file) for file in sorted((folder / CELLS).glob("*.json"))]


def keep(folder: Path, number: int, cell: Cell) -> None:
    (folder / CELLS).mkdir(exist_ok=True)
    _write(folder / CELLS / f"{number:04d}.json", cell)


def place(home: Path, parts: Mapping[str, Any]) -> Path:
    """The folder of what is played from these parts; made, if it is not there. Asking for it counts as use."""
    folder = home / PLAYED / _key(parts)
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    return folder


def was_played(home: Path, parts: Mapping[str, Any]) -> bool:
    return (home / PLAYED / _key(parts) / CELL).is_file()


def _key(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def remove_unused(home: Path, *, before: float) -> None:
    """Takes away what nobody has asked for since then, in seconds since 1970; each in one step, as half a run is none."""
    for folder in (home / PLAYED).glob("[!.]*"):
        if folder.stat().st_mtime < before:
            folders.moved_away(folder)
    folders.sweep(home / PLAYED, [f"{folders.REMOVED}*"], 0.0)


def played(place: Path) -> Cell | None:
    """What was played before, at no cost now."""
    file = place / CELL
    return dataclasses.replace(_read(file), spent_s=0.0) if file.is_file() else None


def keep_played(place: Path, cell: Cell) -> None:
    _write(place / CELL, cell)


def _write(file: Path, cell: Cell) -> None:
    write_whole(file, json.dumps(dataclasses.asdict(cell)))


def _read(file: Path) -> Cell:
    raw = json.loads(file.read_bytes())
    return Cell(**raw | {"values": tuple(raw["values"])})
