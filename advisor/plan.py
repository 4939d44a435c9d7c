"""What to run: for each candidate the command and its recipe, for the best that fits the time it will take too.

Knows the table of methods that can be made.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from adapters.bases import BaseFacts
from adapters.data.dataset import FEWEST_ROWS
from adapters.methods.table import METHODS
from adapters.tuning.recipe import Recipe, defaults
from advisor.candidates import CANDIDATES
from advisor.evidence import Found, number
from advisor.ranking import Ranked

SHOWN = ("epochs", "learning_rate", "batch_size", "rank", "alpha", "max_length")
"""Knobs of what is trained."""


@dataclass(frozen=True, slots=True)
class Names:
    """What stands in a command for the data, the base and the documents."""

    file: str = "FILE"
    base: str | None = None
    docs: str = "DOCS"


def plan(ranked: Sequence[Ranked], found: Found, facts: BaseFacts | None, names: Names) -> dict[str, Any]:
    """`method` of `graft tune`, `commands`, `recipe` (None without a base), `expected_seconds` of training (None if not known),
    `note`.

    It is that of the best ranked that fits and is not barred; `note` says so where that is not the first. `found` is complete.
    """
    possible = [one for one in ranked if one.fits is not False and not one.barred]
    rows = number(found, "n_examples")
    if not possible:
        return _nothing("no method fits; take a smaller base or a larger machine")
    if rows is not None and rows < FEWEST_ROWS:
        return _nothing(f"bring at least {FEWEST_ROWS} rows: with fewer, nothing can be held out to measure on")
    chosen = possible[0].method
    note = "" if chosen == ranked[0].method else f"{ranked[0].method} does not fit; the best that does is {chosen}"
    trains = METHODS[CANDIDATES[chosen].method].weights is not None
    return {
        "method": CANDIDATES[chosen].method,
        "commands": [command(chosen, found, facts, names)],
        "recipe": recipe(chosen, found, facts),
        "expected_seconds": number(found, f"train_seconds.{chosen}") if trains else 0.0,
        "note": note,
    }


def recipe(candidate: str, found: Found, facts: BaseFacts | None) -> dict[str, Any] | None:
    """The knobs to begin with, of `adapters.tuning.recipe`; None where the base or the number of rows is not known."""
    made, rows = CANDIDATES[candidate], number(found, "n_examples")
    if facts is None or rows is None:
        return None
    whole = _usual(made.method, int(rows), facts)
    trains = METHODS[made.method].weights is not None
    return {"method": made.method, **({knob: getattr(whole, knob) for knob in SHOWN} if trains else {}), **made.knobs}


@lru_cache(maxsize=64)
def _usual(method: str, rows: int, facts: BaseFacts) -> Recipe:
    """The same answer asks for it three times: as a recipe, in a command and in the plan."""
    return defaults(method, rows, facts)


def command(candidate: str, found: Found, facts: BaseFacts | None, names: Names) -> str:
    """The line that makes it."""
    made, knobs = CANDIDATES[candidate], recipe(candidate, found, facts)
    words = ["graft", "tune", names.file, *([] if names.base is None else ["--base", names.base])]
    words += ["--name", model_name(names.file), "--method", made.method]
    words += ["--docs", names.docs] if METHODS[made.method].retrieves else []
    turned = dict(made.knobs)
    if knobs is not None and "epochs" in knobs:
        turned["epochs"] = knobs["epochs"]
    for knob, value in turned.items():
        words += [f"--{knob.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _nothing(note: str) -> dict[str, Any]:
    return {"method": None, "commands": [], "recipe": None, "expected_seconds": None, "note": note}


def model_name(file: str) -> str:
    """A model name made of the file's: what `graft tune --name` accepts."""
    stem = re.sub(r"\.[A-Za-z]+$", "", file.rsplit("/", 1)[-1]).lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:64] or "my-model"
