"""A prediction for every method that applies: rules, regression and measurement, each weighed by its precision.

    what the rules expect   x   the regression on what was measured of the task   x   what was measured of the method itself

as normals of the score's logit, and a binomial likelihood of what was measured. With numbers only, the first stands alone; with
probes, the first two; a method that was played rests on the third. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from advisor.evidence import Evidence, Found, number
from advisor.predicting import regression
from advisor.predicting.contract import NORMAL_90, Normal, Predicted
from advisor.predicting.features import FEATURES, Seen, family, seen
from advisor.predicting.figures import Arm, Off, Outcomes, Published
from advisor.predicting.measured import CHANGES_WITH_ROWS, Scored, after, measured, scored
from advisor.predicting.typical import Typical, typical

KEPT_LIFT = 0.7
"""Of what tuning adds to a prompt, what it adds to a prompt with passages: less than all, as training with passages in the rows
added 6 points at 2 billion parameters and took 2 at 7 (Soudani et al., 2024, arXiv 2403.01432)."""
LIFT_SPREAD = 0.6
KIN = {"rag": "few_shot", "rag+lora": "lora", "continued_pretraining": "full"}
"""Methods that no outcome has, and the one whose base and learning they share: where rules are off by much for that one, they
are for these."""
SHOWS_AS = {"knn_few_shot": "few_shot", "many_shot": "few_shot"}
"""Methods that show examples too, and whose regression tells of them, less surely, where their own rests on no probe."""
ROWS_DRIFT = 0.1
"""Spread, in logits, that every doubling of the rows adds to a score measured on fewer."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the measurements say of every method's score, without what the rules expect of it."""

    outcomes: Outcomes
    forecasts: Mapping[str, tuple[Normal, str]]
    """By regression, of methods that have one, and on what."""
    scores: Mapping[str, tuple[Scored, str]]
    """Of methods that were measured themselves, and how."""
    is_read: bool
    """Whether rag was measured itself, so that rag+lora can be told from it."""


def predict(
    found: Found, methods: Sequence[str], points: Mapping[str, float], published: Published, outcomes: Outcomes
) -> dict[str, Predicted]:
    """`points`: the sum of each method's votes."""
    return with_points(known(found, methods, outcomes), points, typical(found, published))


def known(found: Found, methods: Sequence[str], outcomes: Outcomes) -> Known:
    features, kind = seen(found), family(found)
    forecasts, scores = {}, {}
    probed = any(FEATURES[name].is_probe for name in features)
    for method in methods:
        arm, own = outcomes.arms.get(method), measured(method, found)
        forecast = _forecast(method, outcomes, features, kind) if probed else None
        if forecast is not None:
            forecasts[method] = forecast
        if own is not None:
            held = scored(own, outcomes.drift, outcomes.optimism.get(method, 0.0))
            score = _at_these_rows(method, held, arm, features, found)
            scores[method] = score, f"measured: {own.name}" + ("" if own.n is None else f" on {own.n:,} rows")
    return Known(outcomes, forecasts, scores, measured("rag", found) is not None)


def _forecast(method: str, outcomes: Outcomes, features: Mapping[str, Seen], kind: str) -> tuple[Normal, str] | None:
    """By the method's own regression, or by that of whoever shows examples as it does, where that alone rests on a probe: what
    counts of rows say is the rules' to tell."""
    for name in (method, SHOWS_AS.get(method, method)):
        arm = outcomes.arms.get(name)
        used = [] if arm is None else [one for one in arm.features if one in features]
        if arm is not None and any(FEATURES[one].is_probe for one in used):
            made = regression.forecast(arm, features, kind)
            of = "" if name == method else f"{name}'s "
            wider = made if name == method else Normal(made.mean, made.variance + LIFT_SPREAD**2)
            return wider, f"{of}regression on {', '.join(used)} over {arm.tasks} tasks ({outcomes.made_from})"
    return None


def with_points(
    known: Known, points: Mapping[str, float], usual: Typical, last: Mapping[str, Predicted] | None = None,
    were: Mapping[str, float] | None = None,
) -> dict[str, Predicted]:  # fmt: skip
    """Predictions of the methods that have points. `last`: those of the same `known` and `usual`, of the points that `were`."""
    made: dict[str, Predicted] = {}
    for method, votes in points.items():
        if last is not None and were is not None and were[method] == votes and method != "rag+lora":
            made[method] = last[method]
            continue
        expected = _as_right_as_they_were(usual.of(votes), known.outcomes.rules.get(KIN.get(method, method)))
        said = ["published levels and rules"]
        if method in known.forecasts:
            forecast, how = known.forecasts[method]
            expected = expected.times(forecast)
            said.append(how)
        elif method == "rag+lora" and known.is_read and {"rag", "lora", "few_shot"} <= made.keys():
            expected = expected.times(_lifted(made["rag"], made["lora"], made["few_shot"]))
            said.append(f"what rag scores, with {KEPT_LIFT:.0%} of what lora adds to few_shot")
        common, reach = known.outcomes.shared, NORMAL_90
        if method in known.forecasts or method in known.scores:
            reach = known.outcomes.reach
        if method in known.scores:
            score, how = known.scores[method]
            before, expected = expected.variance, after(expected, score)
            common *= expected.variance / before
            said.append(how)
        made[method] = Predicted(method, expected.mean, math.sqrt(expected.variance), common, reach, "; ".join(said))
    return made


def _as_right_as_they_were(rules: Normal, off: Off | None) -> Normal:
    """The rules' expectation, moved by what it was off by on outcomes, and no surer than it was right there."""
    return rules if off is None else Normal(rules.mean - off.mean, max(rules.variance, off.variance))


def evidence(predicted: Mapping[str, Predicted]) -> list[Evidence]:
    """Each prediction as evidence, `quality.<method>`, so that a reason can quote it."""
    return [
        Evidence(f"quality.{one.method}", round(one.mean, 4), "share", f"foretold from {one.how}; 90 % interval", None,
                 (round(one.interval[0], 4), round(one.interval[1], 4)))
        for one in predicted.values()
    ]  # fmt: skip


def _lifted(rag: Predicted, tuned: Predicted, prompted: Predicted) -> Normal:
    lift = KEPT_LIFT * max(0.0, tuned.centre - prompted.centre)
    return Normal(rag.centre + lift, rag.sd**2 + (KEPT_LIFT * tuned.sd) ** 2 + LIFT_SPREAD**2)


def _at_these_rows(method: str, score: Scored, arm: Arm | None, known: Mapping[str, Seen], found: Found) -> Scored:
    """Where more rows are asked about than the score was measured with, it moves as the regression says that rows move it."""
    measured_on, rows = number(found, "rows_measured_on"), number(found, "n_examples")
    if method not in CHANGES_WITH_ROWS or measured_on is None or rows is None or rows < 1 or measured_on < 1:
        return score
    doublings = math.log2(rows / measured_on)
    slope = 0.0 if arm is None else sum(regression.pull(arm, known, name) for name in ("rows", "rows_per_class"))
    drift = math.hypot(score.drift, ROWS_DRIFT * doublings)
    return replace(score, drift=drift, optimism=score.optimism - slope * doublings)
