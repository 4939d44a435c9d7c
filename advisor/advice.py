"""Advice: evidence, ranked candidates, reasons, what would change it, what to run. The advisor's two entries.

`from_numbers` is instant and imports nothing heavy, so it may run inside a server; `from_dataset` looks at the rows,
measures with the encoder and the base, and takes up to a minute. Knows no terminal and no web.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters import bases
from adapters.bases import BaseFacts
from adapters.errors import InvalidInput
from adapters.tuning import machine, shapes
from advisor import bills, plan, ranking, utility
from advisor.evidence import STATED, Evidence, Found, by_name, number
from advisor.plan import Names
from advisor.predicting.typical import missing
from advisor.ranking import Decision, Figures, Ranked
from advisor.says import says, told
from advisor.sensitivity import Change, would_change_if
from advisor.stated import FIELDS, Stated

SEED = 0
"""Of every sample and permutation, so that the same file gets the same advice."""


@dataclass(frozen=True, slots=True)
class Advice:
    method: str
    confidence: float
    """Probability that no other method would be worth more."""
    ranking: tuple[Ranked, ...]
    evidence: tuple[Evidence, ...]
    changes: tuple[Change, ...]
    plan: dict[str, Any]
    says: tuple[str, ...]
    """What has to be known beside the ranking, in whole sentences."""
    profile: str
    recipes: dict[str, dict[str, Any] | None]
    commands: dict[str, str]
    decision: Decision
    """What the ranking was made from, to be asked what it would be with other numbers."""
    measured: Found
    """What was known before anything was computed from it."""
    facts: BaseFacts | None

    @property
    def would_change_if(self) -> tuple[str, ...]:
        return tuple(change.says for change in self.changes)

    def to_json(self) -> dict[str, Any]:
        """The shape callers rely on; a number that is not known is null."""
        return {
            "recommendation": {"method": self.method, "confidence": self.confidence},
            "ranking": [self._row(one) for one in self.ranking],
            "evidence": [
                {
                    "name": one.name, "value": one.value, "unit": one.unit, "n": one.n,
                    "interval": None if one.interval is None else list(one.interval), "how": one.how,
                }
                for one in self.evidence
            ],
            "would_change_if": list(self.would_change_if),
            "plan": self.plan,
            "says": list(self.says),
            "profile": self.profile,
        }  # fmt: skip

    def _row(self, one: Ranked) -> dict[str, Any]:
        low, high = one.quality.interval
        quality = {"mean": round(one.quality.mean, 4), "interval": [round(low, 4), round(high, 4)], "metric": one.metric}
        return {
            "method": one.method, "score": one.score, "fits": one.fits, "memory_gib": one.memory_gib,
            "reasons": list(one.reasons), "quality": quality, "p_best": one.p_best, "barred": one.barred,
            "cost": bills.in_full(one.method, one.cost), "risks": list(one.risks), "recipe": self.recipes[one.method],
            "command": self.commands[one.method],
        }  # fmt: skip


def from_numbers(
    stated: Stated, *, facts: BaseFacts | None = None, base_name: str | None = None, profile: str = utility.DEFAULT
) -> Advice:
    """Advice from stated numbers alone; `facts` of a known base replace `params_b`.

    Raises InvalidInput when nothing is stated.
    """
    if not stated.given():
        raise InvalidInput(f"state at least one number: {', '.join(FIELDS)}", param="n_examples")
    return advise(stated.evidence(), facts=facts, names=Names(base=base_name), profile=profile)


def from_dataset(
    path: Path,
    *,
    docs: Path | None = None,
    test: Path | None = None,
    base_folder: Path | None = None,
    base_name: str | None = None,
    gpu_gib: float | None = None,
    stated: Stated | None = None,
    shown_as: str | None = None,
    profile: str = utility.DEFAULT,
    budget_s: float | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> Advice:
    """Advice from a data file, the documents its answers may stand in, and a base. What is stated overrides what is found.

    `test`: rows set aside, to be looked for among the others. `said` is told what is being done. Raises DataError for a file or
    document that cannot be read, InvalidInput for a base or folder that is none.
    """
    from adapters.data.dataset import open_dataset
    from advisor import measuring

    utility.weights_of(profile)
    facts = None if base_folder is None else bases.facts(base_folder)
    data = open_dataset(path, shown_as=shown_as)
    found = measuring.measure(
        data.examples, documents=docs, base_folder=base_folder, kind=_kind(data.form, stated),
        test=None if test is None else open_dataset(test).examples, seed=SEED, said=said,
        budget_s=measuring.BUDGET_S if budget_s is None else budget_s,
    )  # fmt: skip
    if gpu_gib is not None:
        stated = dataclasses.replace(stated or Stated(), gpu_gib=gpu_gib)
    if stated is not None:
        found = [*found, *stated.evidence()]
    names = Names(shown_as or str(path), base_name, "DOCS" if docs is None else str(docs))
    return advise(found, facts=facts, names=names, profile=profile)


def _kind(form: str, stated: Stated | None) -> tuple[str, str] | None:
    """Of task, and how that is known without a guess: a few rows of many labels do not look like what they are."""
    if stated is not None and stated.task_type is not None:
        return stated.task_type, STATED
    return ("classification", "the rows name their answers labels") if form == "labelled" else None


def advise(
    evidence: Sequence[Evidence], *, facts: BaseFacts | None = None, names: Names | None = None,
    profile: str = utility.DEFAULT, figures: Figures | None = None,
) -> Advice:  # fmt: skip
    """What the rules make of the evidence. Without `facts`, a stated params_b stands for a decoder of typical shape."""
    found, names = by_name(evidence), names or Names()
    params_b = number(found, "params_b")
    if facts is None and params_b is not None:
        facts = shapes.typical_shape(params_b)
    if "gpu_gib" not in found and facts is not None:
        how = "measured: memory of this machine's largest GPU, or its free main memory where there is none"
        found["gpu_gib"] = Evidence("gpu_gib", round(machine.available_gib(), 2), "GiB", how)
    whole = ranking.complete(found, facts)
    decision = ranking.decide(whole, profile, figures)
    changes = would_change_if(decision, found, facts)
    billed = dataclasses.replace(decision, found=whole | by_name(bills.bills(whole, facts)))
    ranked = ranking.rank(billed)
    plainly = told(billed, changes)
    shown = {**plainly.found, **by_name(bills.labelling(plainly.found))}
    return Advice(
        method=ranked[0].method,
        confidence=ranking.confidence(ranked),
        ranking=tuple(ranked),
        evidence=(*shown.values(), *_gaps(whole)),
        changes=tuple(changes),
        plan=plan.plan(ranked, whole, facts, names),
        says=tuple(map(str, says(plainly))),
        profile=profile,
        recipes={one.method: plan.recipe(one.method, whole, facts) for one in ranked},
        commands={one.method: plan.command(one.method, whole, facts, names) for one in ranked},
        decision=decision,
        measured=found,
        facts=facts,
    )


def _gaps(found: Found) -> list[Evidence]:
    return [
        Evidence(name, None, FIELDS[name].unit, f"not known, which lowers the confidence. {FIELDS[name].meaning}")
        for name in missing(found)
    ]
