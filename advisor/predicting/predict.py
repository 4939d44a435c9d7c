"""A prediction for every method that applies: rules, regression and measurement, each weighed by its precision.

    what the rules expect   x   the regression on what was measured of the task   x   what was measured of the method itself

as independent normals of the score's logit. With numbers only, the first stands alone; with probes, the first two; a method
that was played rests on the third. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from advisor.evidence import Evidence, Found, number
from advisor.predicting import regression
from advisor.predicting.contract import NORMAL_90, Normal, Predicted
from advisor.predicting.features import FEATURES, Seen, family, seen
from advisor.predicting.figures import Arm, Outcomes, Published
from advisor.predicting.measured import CHANGES_WITH_ROWS, measured, posterior
from advisor.predicting.typical import typical

KEPT_LIFT = 0.7
"""Of what tuning adds to a prompt, what it adds to a prompt with passages: less than all, as training with passages in the rows
added 6 points at 2 billion parameters and took 2 at 7 (Soudani et al., 2024, arXiv 2403.01432)."""
LIFT_SPREAD = 0.6
ROWS_DRIFT = 0.1
"""Spread, in logits, that every doubling of the rows adds to a score measured on fewer."""


def predict(
    found: Found, methods: Sequence[str], points: Mapping[str, float], published: Published, outcomes: Outcomes
) -> dict[str, Predicted]:
    """`points`: the sum of each method's votes."""
    known, kind, usual = seen(found), family(found), typical(found, published)
    probed = any(FEATURES[name].is_probe for name in known)
    made: dict[str, Predicted] = {}
    for method in methods:
        expected = usual.of(points[method])
        said = ["published levels and rules"]
        arm = outcomes.arms.get(method)
        own = measured(method, found)
        if arm is not None and probed:
            expected = expected.times(regression.forecast(arm, known, kind))
            used = [name for name in arm.features if name in known]
            said.append(f"regression on {', '.join(used)} over {arm.tasks} tasks ({outcomes.made_from})")
        elif method == "rag+lora" and measured("rag", found) is not None and {"rag", "lora", "few_shot"} <= set(made):
            expected = expected.times(_lifted(made["rag"], made["lora"], made["few_shot"]))
            said.append(f"what rag scores, with {KEPT_LIFT:.0%} of what lora adds to few_shot")
        common = outcomes.shared
        if own is not None:
            score = _at_these_rows(method, posterior(own, outcomes.drift), arm, known, found)
            common *= score.variance / (score.variance + expected.variance)
            expected = expected.times(score)
            said.append(f"measured: {own.name}" + ("" if own.n is None else f" on {own.n:,} rows"))
        reach = outcomes.reach if own is not None or (arm is not None and probed) else NORMAL_90
        made[method] = Predicted(method, expected.mean, math.sqrt(expected.variance), common, reach, "; ".join(said))
    return made


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


def _at_these_rows(method: str, score: Normal, arm: Arm | None, known: Mapping[str, Seen], found: Found) -> Normal:
    """Where more rows are asked about than the score was measured with, it moves as the regression says that rows move it."""
    measured_on, rows = number(found, "rows_measured_on"), number(found, "n_examples")
    if method not in CHANGES_WITH_ROWS or measured_on is None or rows is None or rows < 1 or measured_on < 1:
        return score
    doublings = math.log2(rows / measured_on)
    slope = 0.0 if arm is None else sum(regression.pull(arm, known, name) for name in ("rows", "rows_per_class"))
    return Normal(score.mean + slope * doublings, score.variance + (ROWS_DRIFT * doublings) ** 2)
