"""How sure forecasts may be: what they said beside what came, for tasks that none of their figures were made of.

Needs numpy, through `fitting`; is no part of giving advice.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from advisor import ranking
from advisor.evidence import Evidence
from advisor.predicting import best, fitting
from advisor.predicting.contract import NORMAL_90, TELLING, Predicted, logit, sigmoid
from advisor.predicting.features import logit_noise
from advisor.predicting.figures import Off, Outcomes, Published
from advisor.predicting.fitting import FEWEST_TASKS, Setting
from advisor.predicting.measured import counted_logit, measured

TEMPERATURES = (0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)
USUAL_DRIFT = 0.15
LEAST_DRIFT, MOST_DRIFT = 0.05, 3.0
NARROWEST, WIDEST = 1.2, 4.0
SCEPTICAL = 2.0
FEWEST = 30
"""Errors below which nothing is made of them."""
TEST_ROWS = 200
"""Of an outcome, for the noise in it."""


@dataclass(frozen=True, slots=True)
class Foretold:
    """One setting, by figures that knew nothing of its task."""

    setting: Setting
    predicted: Mapping[str, Predicted]
    """Of the methods that were played."""
    chances: Mapping[str, float]
    """Of being best by score alone, before any temperature."""
    winner: str
    """Of these methods the one that scored most, over all seeds."""


def optimism(settings: Sequence[Setting]) -> dict[str, float]:
    """By method, logits by which what was measured of it is above what it scored: mean over tasks, drawn towards none by
    SCEPTICAL tasks."""
    made = {}
    for method, pairs in _pairs(settings).items():
        tasks: dict[str, list[float]] = defaultdict(list)
        for task, score, evidence in pairs:
            tasks[task].append(counted_logit(evidence) - logit(score))
        whole = sum(statistics.fmean(some) for some in tasks.values())
        made[method] = round(whole / (len(tasks) + SCEPTICAL), 4)
    return made


def drift(settings: Sequence[Setting], optimism: Mapping[str, float]) -> float:
    """Spread of held-out logits round measured ones, less what both owe to sampling; what rests on many rows weighs most."""
    squares = []
    for method, pairs in _pairs(settings).items():
        for _, score, evidence in pairs:
            noise = logit_noise(evidence) + 1 / (TEST_ROWS * score * (1 - score))
            said = counted_logit(evidence) - optimism.get(method, 0.0)
            squares.append(((logit(score) - said) ** 2 - noise, noise**-2))
    if len(squares) < FEWEST:
        return USUAL_DRIFT
    mean = sum(square * weight for square, weight in squares) / sum(weight for _, weight in squares)
    return round(min(MOST_DRIFT, max(LEAST_DRIFT, math.sqrt(max(0.0, mean)))), 3)


def _pairs(settings: Sequence[Setting]) -> dict[str, list[tuple[str, float, Evidence]]]:
    """By method: task, score, and what was measured before. Pairs in which one is nothing or all say nothing: there a logit is
    as large as the rows are many."""
    made = defaultdict(list)
    for one in settings:
        for method, score in one.scores.items():
            evidence = measured(method, one.found)
            if evidence is not None and all(TELLING < value < 1 - TELLING for value in (score, float(evidence.value or 0.0))):
                made[method].append((one.task, score, evidence))
    return made


def rules_off(settings: Sequence[Setting], published: Published, whole: Outcomes) -> dict[str, dict[str, float]]:
    """By method, how far what the rules expect is from what came: mean and variance over tasks, which all weigh the same."""
    errors: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in settings:
        decision = ranking.decide(one.found, figures=ranking.Figures(published, whole))
        for method, score in one.scores.items():
            if method in decision.points:
                errors[method][one.task].append(decision.usual.of(decision.points[method]).mean - logit(score))
    made = {}
    for method, tasks in errors.items():
        if len(tasks) >= FEWEST_TASKS - 1:
            mean = statistics.fmean(statistics.fmean(some) for some in tasks.values())
            spread = statistics.fmean(statistics.fmean((one - mean) ** 2 for one in some) for some in tasks.values())
            made[method] = {"mean": round(mean, 4), "variance": round(spread, 4)}
    return made


def foretold(settings: Sequence[Setting], published: Published, whole: Outcomes, ridge: float) -> Iterator[Foretold]:
    """Every setting with at least two methods played, by the arms of the other tasks."""
    means = _means(settings)
    for task in sorted({one.task for one in settings}):
        figures = ranking.Figures(published, _without(task, settings, whole, ridge, published))
        for one in settings:
            if one.task != task or len(one.scores) < 2:
                continue
            decision = ranking.decide(one.found, figures=figures)
            predicted = {name: decision.predicted[name] for name in one.scores if name in decision.predicted}
            if len(predicted) >= 2:
                chances = best.probabilities(predicted, dict.fromkeys(predicted, 0.0), 1.0)
                scored = means[one.task, one.base, one.n]
                yield Foretold(one, predicted, chances, max(predicted, key=lambda name: scored[name]))


def reach(made: Sequence[Foretold]) -> float:
    """Half the width that an interval needs to hold 90 % of the scores, in the spread that was foretold."""
    scaled = sorted(_away(one.setting.scores[name], said) for one in made for name, said in one.predicted.items())
    if len(scaled) < FEWEST:
        return NORMAL_90
    return round(min(WIDEST, max(NARROWEST, scaled[math.ceil(0.9 * len(scaled)) - 1])), 3)


def _away(score: float, said: Predicted) -> float:
    """How far the score is from what was foretold, in its spread, less the TELLING by which every interval is wider. At nothing
    and at all a point of score is endless logits, which would stretch all other intervals."""
    nearest = min(max(sigmoid(said.centre), score - TELLING), score + TELLING)
    return abs(logit(nearest) - said.centre) / said.sd


def reaching(one: Foretold, reach: float) -> Foretold:
    """The same with intervals of that width."""
    wide = {name: dataclasses.replace(said, reach=reach) for name, said in one.predicted.items()}
    return dataclasses.replace(one, predicted=wide)


def temperature(made: Sequence[Foretold]) -> float:
    """The one under which the winners were likeliest, every task weighing the same."""
    return min(TEMPERATURES, key=lambda one: log_loss(made, one)) if made else 1.0


def log_loss(made: Sequence[Foretold], temperature: float) -> float:
    losses: dict[str, list[float]] = defaultdict(list)
    for one in made:
        bent = {name: value ** (1 / temperature) for name, value in one.chances.items()}
        losses[one.setting.task].append(-math.log(max(1e-6, bent.get(one.winner, 0.0) / sum(bent.values()))))
    return statistics.fmean(statistics.fmean(some) for some in losses.values())


def coverage(made: Sequence[Foretold]) -> float:
    """Share of scores inside their 90 % intervals."""
    inside = [low <= one.setting.scores[name] <= high
              for one in made for name, said in one.predicted.items() for low, high in [said.interval]]  # fmt: skip
    return sum(inside) / len(inside)


def _without(task: str, settings: Sequence[Setting], whole: Outcomes, ridge: float, published: Published) -> Outcomes:
    others = fitting.cells_of(one for one in settings if one.task != task)
    arms = {
        method: dataclasses.replace(fitting.arm(method, cells, ridge), inflation=whole.arms[method].inflation)
        for method, cells in others.items()
        if method in whole.arms and len({cell.task for cell in cells}) >= FEWEST_TASKS - 1
    }
    rest = [one for one in settings if one.task != task]
    off = {name: Off(**one) for name, one in rules_off(rest, published, whole).items()}
    return dataclasses.replace(whole, arms=fitting.with_stand_ins(arms), rules=off, optimism=optimism(rest))


def _means(settings: Sequence[Setting]) -> dict[tuple[str, str, int], dict[str, float]]:
    scores: dict[tuple[str, str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in settings:
        for method, score in one.scores.items():
            scores[one.task, one.base, one.n][method].append(score)
    return {key: {name: statistics.fmean(values) for name, values in some.items()} for key, some in scores.items()}
