"""What to run next: the command, its recipe and the time it will take. Knows the table of methods that can be made."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

from adapters.bases import BaseFacts
from adapters.data.dataset import FEWEST_ROWS
from adapters.methods.table import METHODS
from adapters.tuning.recipe import defaults
from advisor.evidence import Found, number
from advisor.ranking import Ranked


def plan(
    ranked: Sequence[Ranked], found: Found, facts: BaseFacts | None, *, file: str, base: str | None, docs: str = "DOCS"
) -> dict[str, Any]:  # fmt: skip
    """`method`, `commands`, `recipe` (None without a base), `expected_seconds` of training (None if not known), `note`.

    The method is the best ranked of those that fit; `note` says so where that is not the recommendation. `found` is
    complete; `docs` is the folder of documents, or what stands for one.
    """
    fitting = [one for one in ranked if one.fits is not False]
    rows = number(found, "n_examples")
    if not fitting:
        return _nothing("no method fits; take a smaller base or a larger machine")
    if rows is not None and rows < FEWEST_ROWS:
        return _nothing(f"bring at least {FEWEST_ROWS} rows: with fewer, nothing can be held out to measure on")
    method = fitting[0].method
    note = "" if method == ranked[0].method else f"{ranked[0].method} does not fit; the best that does is {method}"
    recipe = None if facts is None or rows is None else defaults(method, int(rows), facts)
    command = ["graft", "tune", file, *([] if base is None else ["--base", base]), "--name", _name(file), "--method", method]
    command += ["--docs", docs] if METHODS[method].retrieves else []
    trains = METHODS[method].weights is not None
    knobs = {}
    if recipe is not None and trains:
        command += ["--epochs", str(recipe.epochs)]
        knobs = {
            knob: getattr(recipe, knob) for knob in ("epochs", "learning_rate", "batch_size", "rank", "alpha", "max_length")
        }
    return {
        "method": method,
        "commands": [shlex.join(command)],
        "recipe": None if recipe is None else {"method": method, **knobs},
        "expected_seconds": number(found, f"train_seconds.{method}") if trains else 0.0,
        "note": note,
    }


def _nothing(note: str) -> dict[str, Any]:
    return {"method": None, "commands": [], "recipe": None, "expected_seconds": None, "note": note}


def _name(file: str) -> str:
    """A model name made of the file's: what `graft tune --name` accepts."""
    stem = re.sub(r"\.[A-Za-z]+$", "", file.rsplit("/", 1)[-1]).lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:64] or "my-model"
