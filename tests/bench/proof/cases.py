"""What the advisor is judged on: settings of the outcome table, each with its evidence and what every method scored.

A line of the table is an arm's; of several arms that are one method the better counts, as in what forecasts are fitted on.
Knows no chooser.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from adapters.tuning import shapes
from advisor import ranking, utility
from advisor.evidence import STATED, Evidence, Found
from advisor.predicting.fitting import Setting
from tests.bench.outcome import settings as reading

PARAMS_B = {"smollm2": 0.135, "gemma3-270m": 0.268}
DEVICE_GIB = 24.0
"""Of the device that advice is asked for: what every arm of the table fits."""
FEWEST_METHODS = 4
"""Played in a setting, below which there is nothing to choose between."""


@dataclass(frozen=True)
class Case:
    setting: Setting
    found: Found
    """Complete: with what each method would cost."""
    items: Mapping[str, tuple[float, ...]]
    """Of each method, on the same test rows."""
    seconds: Mapping[str, tuple[float, float]]
    """To make each method, and to ask it all test rows."""

    @property
    def whole_s(self) -> float:
        """Of playing every method with all rows, which is what the oracle takes."""
        return sum(making_s + asking_s for making_s, asking_s in self.seconds.values())

    @property
    def task(self) -> str:
        return self.setting.task

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Those that were played and may be advised. What a rule bars is nobody's choice, and no yardstick; what that costs is
        counted apart (`barred_gain`)."""
        barred = ranking.decide(self.found).barred
        return tuple(method for method in self.setting.scores if method not in barred)

    def barred_gain(self, profile: str) -> float:
        """What the best of all methods is worth beyond the best that may be advised."""
        return max(self.worth(method, profile) for method in self.setting.scores) - self.worth(self.oracle(profile), profile)

    def worth(self, method: str, profile: str) -> float:
        """The score less its burdens."""
        return self.setting.scores[method] - utility.burden(method, self.found, profile)

    def oracle(self, profile: str) -> str:
        return max(self.methods, key=lambda method: self.worth(method, profile))

    def regret(self, method: str, profile: str) -> float:
        return self.worth(self.oracle(profile), profile) - self.worth(method, profile)

    def standard_error(self, method: str, profile: str) -> float:
        """Of the difference between the oracle's score and the method's, on the rows they were both asked."""
        best = self.items[self.oracle(profile)]
        differences = np.asarray(best) - np.asarray(self.items[method])
        return float(differences.std(ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else 0.0


Lines = Sequence[dict[str, Any]]


def cases(outcomes: Lines, features: Lines) -> list[Case]:
    """Those in which enough methods were played, and whose task was looked at where any was."""
    looked = {(line["task"], line["base"]) for line in features}
    lines: dict[tuple[str, str, int, int], dict[str, dict[str, Any]]] = defaultdict(dict)
    for line in outcomes:
        key = line["task"], line["base"], line["n"], line["seed"]
        arm = str(line["arm"])
        method = reading.METHOD.get(arm, arm)
        if arm not in reading.NO_METHOD and line["score"] >= lines[key].get(method, {"score": -1})["score"]:
            lines[key][method] = line
    made = []
    for setting in reading.settings(outcomes, features):
        if len(setting.scores) < FEWEST_METHODS or (looked and (setting.task, setting.base) not in looked):
            continue
        mine = {method: line for (task, base, n, seed), some in lines.items()
                if (task, base) == (setting.task, setting.base) and (n, seed) in ((0, 0), (setting.n, setting.seed))
                for method, line in some.items()}  # fmt: skip
        items = {method: tuple(mine[method]["items"]) for method in setting.scores}
        seconds = {method: (mine[method]["seconds"]["train"], mine[method]["seconds"]["answer"]) for method in setting.scores}
        made.append(Case(setting, completed(setting), items, seconds))
    return made


def completed(setting: Setting) -> Found:
    """The evidence as advice completes it, for a device on which everything fits."""
    facts = shapes.typical_shape(PARAMS_B[setting.base])
    device = Evidence("gpu_gib", DEVICE_GIB, "GiB", STATED)
    return ranking.complete({**setting.found, "gpu_gib": device}, facts)


def changed(case: Case, change: Callable[[Found], Found]) -> Case:
    """The same case with other evidence; what it scored stays."""
    setting = replace(case.setting, found=change(case.setting.found))
    return replace(case, setting=setting, found=completed(setting))
