"""How far learning curves can be foretold: published curves cut short, their forms fitted, and what was missed.

`--curves FILE` is a JSON list of curves: `method`, `dataset`, `points` of `n`, `mean` (percent, or 0 to 1), perhaps `seeds`.
`--out FILE` writes the errors' quantiles, which the advisor takes its intervals from. Knows nothing of the advisor's rules.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from advisor.curves import FARTHEST, FEWEST_POINTS, FORMS, Point, bounded, fitted

TIMES = (2.0, 4.0, 8.0)


def family(curve: dict[str, Any]) -> str:
    return "in_context" if "icl" in curve["method"].lower() or "shot" in curve["method"].lower() else "tuning"


def points(curve: dict[str, Any]) -> list[Point]:
    scale = 100.0 if max(point["mean"] for point in curve["points"]) > 1 else 1.0
    known = (point for point in curve["points"] if point["n"])
    made = [Point(point["n"], point["mean"] / scale, point.get("seeds") or 1) for point in known]
    return sorted(made, key=lambda point: point.rows)


def missed(curve: Sequence[Point], of: str) -> list[tuple[float, float, float]]:
    """(times, error of the form, error of the last value) for every cut of a curve and every point behind it."""
    found = []
    for last in range(FEWEST_POINTS - 1, len(curve) - 1):
        seen = curve[: last + 1]
        parameters = fitted(FORMS[of], seen)
        for later in curve[last + 1 :]:
            times = later.rows / seen[-1].rows
            if times <= 1.5 * FARTHEST:
                foretold = bounded(float(FORMS[of].of(np.asarray([later.rows]), parameters)[0]))
                found.append((times, abs(foretold - later.score), abs(seen[-1].score - later.score)))
    return found


def main(argv: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench curves", description=__doc__)
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args(argv)
    errors: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    used: dict[str, int] = defaultdict(int)
    for curve in json.loads(flags.curves.read_bytes()):
        of, seen = family(curve), points(curve)
        if len(seen) > FEWEST_POINTS:
            errors[of] += missed(seen, of)
            used[of] += 1
    quantiles: dict[str, dict[str, float]] = defaultdict(dict)
    for of, found in errors.items():
        for times in TIMES:
            near = [(form, last) for at, form, last in found if times / 1.5 < at <= times * 1.5]
            if not near:
                continue
            form, last = np.array(near).T
            quantiles[of][f"{times:g}"] = round(float(np.quantile(form, 0.9)), 3)
            print(f"{of:10s} {times:g} times, {len(near):4d} forecasts of {used[of]} curves: mean error {form.mean():.3f}, "
                  f"90 % {np.quantile(form, 0.9):.3f}, most {form.max():.3f}; the last value {last.mean():.3f}")  # fmt: skip
    if flags.out:
        command = shlex.join(["python", "-m", "tests.bench", "curves", "--curves", flags.curves.name, "--out", flags.out.name])
        said = {"command": command, "curves": dict(used), "quantile_90": quantiles}
        flags.out.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
