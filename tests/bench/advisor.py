"""Whether the advisor is right: its choices, probabilities and intervals beside what came of every method, task by task.

Every task is judged by figures that were fitted on the other tasks alone; the choosers to beat see the same. `--outcomes` is
what `outcomes run` wrote, `--features` what `advisor_features` wrote for the same rows. With `--casebook` (and `--facts`, see
`advisor_published`) published comparisons are asked too. `proof/` does the work.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advisor import utility
from advisor.predicting import figures
from advisor.predicting.figures import Outcomes
from tests.bench.advisor_fit import fitted
from tests.bench.outcome import settings as reading
from tests.bench.proof import casebook, choosing, judging, memory, replay, without
from tests.bench.proof.cases import Case, cases, changed
from tests.bench.proof.judging import Choice

HERE = Path(__file__).parent / "outcome"
TURNS = 5
"""Ways of giving each task another one's measurements."""

Figures = Mapping[str, Outcomes] | None


def main(flags: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench advisor", description=__doc__)
    parser.add_argument("--outcomes", type=Path, nargs="+", default=[HERE / "smollm2.jsonl"])
    parser.add_argument("--features", type=Path, nargs="*", default=[HERE / "smollm2_features.jsonl"])
    parser.add_argument("--casebook", type=Path)
    parser.add_argument("--facts", type=Path, help="what published figures are made of; each paper is left out of them in turn")
    parser.add_argument("--out", type=Path, help="all figures, as JSON")
    asked = parser.parse_args(list(flags))
    outcomes, features = (
        [line for file in files if file.is_file() for line in reading.read(file)] for files in (asked.outcomes, asked.features)
    )
    played = cases(outcomes, features)
    if not played:
        raise SystemExit("there is no task with outcomes of four methods and features")
    fit = _left_out(played)
    found = {"command": f"python -m tests.bench advisor {shlex.join(flags)}", "cases": _counted(played)}
    found |= {"choices": _choices(played, fit), "honesty": _honesty(played, fit), "evidence": _evidence(played, fit)}
    found["bake-off"] = replay.proof(played, fit)
    found["memory"] = memory.beside_published()
    if asked.casebook:
        found["casebook"] = _casebook(asked.casebook, asked.facts)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")


def _left_out(played: Sequence[Case]) -> dict[str, Outcomes]:
    """By task, figures made of the others."""
    made = {}
    for task in sorted({case.task for case in played}):
        others = [case.setting for case in played if case.task != task]
        made[task] = figures.outcomes_from(fitted(others, "outcomes of the other tasks"))
    return made


def _counted(played: Sequence[Case]) -> dict[str, Any]:
    tasks = sorted({case.task for case in played})
    print(f"{len(played)} settings of {len(tasks)} tasks: {', '.join(tasks)}", flush=True)
    gains = [case.barred_gain(utility.DEFAULT) for case in played]
    made = {"settings": len(played), "tasks": tasks, "arms": sum(len(case.setting.scores) for case in played)}
    made |= {"rules bar the best in": sum(gain > 0 for gain in gains), "which costs": round(statistics.fmean(gains), 4)}
    print(made, flush=True)
    return made


def _choices(played: Sequence[Case], fit: Figures) -> dict[str, Any]:
    choosers = {"advisor, depth 2": choosing.advised(fit), "advisor, shipped figures": choosing.advised(None)}
    made: dict[str, Any] = {}
    for profile in utility.PROFILES:
        made[profile] = {name: judging.summed(chosen(played, chooser, profile))
                         for name, chooser in (choosers | choosing.BASELINES).items()}  # fmt: skip
        _table(f"profile {profile}", made[profile])
    free = {name: judging.summed(chosen(played, chooser, utility.DEFAULT, may_break_rules=True))
            for name, chooser in choosing.BASELINES.items()}  # fmt: skip
    _table(f"profile {utility.DEFAULT}, where they may take what the rules bar", free)
    return made | {f"{utility.DEFAULT}, rules broken": free}


def chosen(
    played: Sequence[Case], chooser: choosing.Chooser, profile: str, *, may_break_rules: bool = False
) -> list[Choice]:  # fmt: skip
    """What it takes in each case of what was played and may be advised; where it wants none of that, what few shots would."""
    made = []
    for case in played:
        others = [one for one in played if one.task != case.task]
        order = [*chooser(case, others, profile), "few_shot", *case.methods]
        among = case.setting.scores if may_break_rules else case.methods
        made.append(Choice(case, choosing.first_of(order, among), profile))
    return made


def _honesty(played: Sequence[Case], fit: Figures) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, used in (("fitted on the other tasks", fit), ("shipped figures", None)):
        said = [judging.said(case, choosing.decided(case, utility.DEFAULT, used)) for case in played]
        made[name] = {
            "coverage of 90 %": judging.coverage(said), "brier": judging.brier(said), "reliability": judging.reliability(said),
        }  # fmt: skip
        print(f"{name}: {json.dumps(made[name])}", flush=True)
    return made


def _evidence(played: Sequence[Case], fit: Figures) -> dict[str, Any]:
    """Regret with each group of evidence taken away; with numbers only; and with another task's measurements."""
    profile, chooser = utility.DEFAULT, choosing.advised(fit)
    made = {"all": judging.summed(chosen(played, chooser, profile))}
    for name, starts in without.GROUPS.items():
        taken = [changed(case, without.without(starts)) for case in played]
        made[f"without {name}"] = judging.summed(chosen(taken, chooser, profile))
    prior = [changed(case, without.numbers_only) for case in played]
    made["numbers only"] = judging.summed(chosen(prior, chooser, profile))
    turns = [judging.summed(chosen(without.shuffled(played, seed), chooser, profile)) for seed in range(TURNS)]
    made["another task's measurements"] = {name: round(statistics.fmean(one[name] for one in turns), 4) for name in turns[0]}
    _table(f"evidence, profile {profile}", made)
    return made


def _casebook(file: Path, facts: Path | None) -> dict[str, Any]:
    said = list(casebook.agreements(file, facts))
    made = {}
    for kept in sorted({one.kept for one in said}):
        some = [one for one in said if one.kept == kept]
        made[kept] = {
            "cases": len(some), "papers": len({one.paper for one in some}),
            "family right": round(statistics.fmean(one.is_right for one in some), 3),
            "or level with it": round(statistics.fmean(one.is_close for one in some), 3),
        }  # fmt: skip
        print(f"casebook, figures {kept}: {json.dumps(made[kept])}", flush=True)
    return made


def _table(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    print(f"\n{title}")
    names = list(next(iter(rows.values())))
    print(f"  {'':<32}" + "".join(f"{name:>9}" for name in names))
    for name, row in rows.items():
        print(f"  {name:<32}" + "".join(f"{row[column]:>9.3f}" for column in names), flush=True)
