"""Few shots and many, chosen on validation rows: how many, which, in what order, and under which words.

Stage by stage, so that the grid stays small: selectors at one number, other numbers for the best two, another order, other
words. Knows no selector by name and no model.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from adapters.adapted_model import Sampling
from adapters.conversation import Example
from adapters.errors import InvalidInput
from adapters.evaluation.scorecard import Mean, mean_of
from adapters.methods.contract import Asked, Choosing, Fitted
from adapters.methods.in_context import NUMBERS
from adapters.methods.labels import RULE, labels_of, naming
from adapters.methods.showing import Showing
from adapters.methods.trials import Candidate, Trial, Trials, decide
from adapters.prompting.selectors.table import SELECTORS
from adapters.prompts import PromptTemplate
from adapters.registry import write_whole
from adapters.tuning.recipe import FITTED

REPORT = "candidates.json"
FIRST_NUMBER = 8
BEST_SELECTORS = 2
MANY_SELECTORS = ("balanced", "knn")
"""Of many shots: the same for every question, which a prefix cache holds, against the nearest to each."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """What a candidate is made of."""

    selector: str
    k: int
    wording: str | None
    template: PromptTemplate


def choose_few(choosing: Choosing) -> Fitted:
    grid, recipe = Grid(choosing), choosing.ground.recipe
    trials = Trials(choosing, recipe.fitting_rows)
    selectors = tuple(SELECTORS) if recipe.selector == FITTED else (recipe.selector,)
    numbers = (recipe.shots,) if recipe.shots else NUMBERS
    first = recipe.shots or min(FIRST_NUMBER, max(2, len(grid.showing.shots) // 2))
    more = min(BEST_SELECTORS, len(selectors)) * (len(numbers) - 1)
    none = [] if recipe.shots else list(grid.without_shots())
    tried = trials.stage([*none, *grid.by(selectors, first)], later=(more, 1, len(grid.wordings) - 1))
    shown = [trial for trial in tried if trial.candidate.of.k]
    best = list(dict.fromkeys(trial.candidate.of.selector for trial in shown))[:BEST_SELECTORS]
    others = [one for number in numbers if number != first for one in grid.by(best, number)]
    if others:
        shown += trials.stage(others, later=(1, len(grid.wordings) - 1))
    _refine(grid, trials, shown)
    return _fitted(grid, trials, choosing)


def choose_many(choosing: Choosing) -> Fitted:
    grid, recipe = Grid(choosing), choosing.ground.recipe
    trials = Trials(choosing, recipe.fitting_rows)
    selectors = MANY_SELECTORS if recipe.selector == FITTED else (recipe.selector,)
    most = min(grid.showing.most(), recipe.shots or len(grid.showing.shots))
    tried = trials.stage(list(grid.full(selectors, most)), later=(1, len(grid.wordings) - 1))
    _refine(grid, trials, tried)
    return _fitted(grid, trials, choosing)


def asked(fitted: Fitted, examples: Sequence[Example], choosing: Choosing) -> list[Asked]:
    if fitted.template is None:
        return [Asked(example, None) for example in examples]
    return Showing(choosing, fitted.template.system).asked(fitted.template, examples)


def _fitted(grid: Grid, trials: Trials, choosing: Choosing) -> Fitted:
    if not trials.made:
        raise InvalidInput("no shot fits beside the longest question; raise max_length", param="max_length")
    seed = choosing.ground.recipe.seed
    taken, differences = decide(list(trials.made.values()), trials.n, seed)
    report = _report(grid, trials, taken, differences, seed)
    write_whole(choosing.progress.folder / REPORT, json.dumps(report, indent=1))
    what: Shown = taken.candidate.of
    choosing.progress.event("chosen", name=taken.candidate.name, candidates=len(trials.made), why=report["why"])
    return Fitted(
        template=None if what.template.is_empty else what.template,
        sampling=Sampling(temperature=0.0, choices=grid.labels),
        pool=grid.showing.folder if what.template.select is not None else None,
        retrieval=None,
        report=report,
    )


def _refine(grid: Grid, trials: Trials, tried: Sequence[Trial]) -> None:
    """Other orders, then other words, of the best."""
    if not tried:
        return
    best = max(tried, key=lambda trial: (trial.mean, -trial.price))
    turned = grid.turned(best.candidate.of)
    if turned is not None:
        best = max((best, *trials.stage([turned], later=(len(grid.wordings) - 1,))), key=lambda t: (t.mean, -t.price))
    reworded = list(grid.reworded(best.candidate))
    if reworded:
        trials.stage(reworded)


class Grid:
    """The candidates that there can be."""

    def __init__(self, choosing: Choosing) -> None:
        self.labels = labels_of(choosing.ground.examples)
        self.wordings = _wordings(choosing.ground.template, self.labels, choosing.ground.recipe.wordings)
        """By what a candidate's name says of it; the user's own first, of which it says nothing."""
        longest = max((text or "" for text in self.wordings.values()), key=len)
        self.showing = Showing(choosing, longest or None)

    def without_shots(self) -> Iterator[Candidate]:
        for name in self.wordings:
            template = self.showing.template("fixed", 0, self.wordings[name])
            assert template is not None  # nothing always fits
            yield self._candidate("no shots", Shown("", 0, name, template))

    def by(self, selectors: Sequence[str], k: int) -> Iterator[Candidate]:
        """One for each selector for which k shots are there and fit."""
        own = next(iter(self.wordings))
        for selector in selectors:
            template = self.showing.template(selector, k, self.wordings[own])
            if template is not None:
                yield self._candidate(f"{selector}, {k} shots", Shown(selector, k, own, template))

    def full(self, selectors: Sequence[str], most: int) -> Iterator[Candidate]:
        """One for each selector, with as many of at most so many shots as fit."""
        own = next(iter(self.wordings))
        for selector in selectors:
            k = most if SELECTORS[selector].by_question else len(self.showing.fixed(selector, most))
            template = self.showing.template(selector, k, self.wordings[own])
            if k and template is not None:
                yield self._candidate(f"{selector}, {k} shots", Shown(selector, k, own, template))

    def turned(self, best: Shown) -> Candidate | None:
        """The same fixed shots from the last to the first (order matters: Lu et al., 2022, arXiv 2104.08786). Chosen ones
        have the nearest last (Liu et al., 2022, arXiv 2101.06804)."""
        given = len(self.showing.given.shots)
        own = best.template.shots[given:]
        if len(own) < 2 or best.template.select is not None:
            return None
        template = dataclasses.replace(best.template, shots=(*best.template.shots[:given], *own[::-1]))
        return self._candidate(f"{best.selector}, {best.k} shots, reversed", dataclasses.replace(best, template=template))

    def reworded(self, best: Candidate) -> Iterator[Candidate]:
        what: Shown = best.of
        for name, system in self.wordings.items():
            if name != what.wording:
                template = dataclasses.replace(what.template, system=system)
                yield self._candidate(best.name, dataclasses.replace(what, wording=name, template=template))

    def _candidate(self, name: str, what: Shown) -> Candidate:
        said = f"{name}, {what.wording}" if what.wording else name
        return Candidate(said, lambda rows: self.showing.asked(what.template, rows), self.labels, what)


def _wordings(template: PromptTemplate | None, labels: Sequence[str], more: str) -> dict[str, str | None]:
    own = template.system if template is not None else None
    found: dict[str, str | None] = {"": own}
    others = [text.strip() for text in more.split("\n---\n")]
    found |= {f"wording {number}": text for number, text in enumerate(others, 1) if text and text != own}
    listed = naming(labels)
    if listed is not None:
        found["labels named"] = f"{own}\n\n{listed}" if own else listed
    if own is not None:
        found["no system text"] = None
    return found


def _report(grid: Grid, trials: Trials, taken: Trial, differences: dict[str, Mean], seed: int) -> dict[str, Any]:
    best = max((t for t in trials.made.values() if len(t.values) == trials.n), key=lambda trial: (trial.mean, -trial.price))
    rows = [
        {
            "name": trial.candidate.name, "n": len(trial.values), **mean_of(trial.values, seed).to_json(),
            "difference": differences[trial.candidate.name].to_json(), "prompt_tokens": round(trial.prompt_tokens, 1),
            "new_tokens": round(trial.new_tokens, 1), "price": round(trial.price, 1), "seconds": trial.seconds,
        }
        for trial in trials.made.values()
    ]  # fmt: skip
    why = "it scored best" if taken is best else (
        f"the cheapest within one standard error of the best, {best.candidate.name}, by {trials.n} validation rows"
    )  # fmt: skip
    return {
        "chosen": taken.candidate.name, "why": why, "metric": trials.metric, "n": trials.n, "candidates": rows,
        "labels": len(grid.labels), "labels_rule": RULE, "pool_rows": len(grid.showing.shots),
        "system": taken.candidate.of.template.system,
    }  # fmt: skip
