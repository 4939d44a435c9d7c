"""Whether an arm is worth playing: what it may gain over the best so far, against what playing it costs somebody.

Both in points of quality, by `utility.py`'s weights; a reason is a sentence with its numbers. Knows no player.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist

from advisor import utility
from advisor.bakeoff.contract import Cell, Plan
from advisor.evidence import Evidence
from advisor.predicting.contract import Predicted, sigmoid

STEPS = 200


def burden(arm: str, plan: Plan, cell: Cell | None, untaught: Cell | None) -> float:
    """What the profile takes off the arm's quality; what was measured of its making and its prompts goes before formulas.

    `untaught`: the base's own cell, whose prompts are those that nothing was added to.
    """
    found = dict(plan.found)
    if cell is not None and cell.values:
        if f"train_seconds.{arm}" in found or arm in utility.USUAL_MINUTES:
            found |= _measured(f"train_seconds.{arm}", cell.making_s, "s")
        if untaught is not None and untaught.values:
            found |= _measured(f"prompt_tokens.{arm}", max(0.0, cell.prompt_tokens - untaught.prompt_tokens), "tokens")
    return utility.burden(arm, found, plan.profile)


def expected_gain(predicted: Predicted, margin: float) -> float:
    """Of the arm's score over `margin`, where it is over it at all: the mean of max(0, score - margin) over the prediction."""
    normal = NormalDist(predicted.centre, max(predicted.sd, 1e-6))
    drawn = (sigmoid(normal.inv_cdf((step + 0.5) / STEPS)) for step in range(STEPS))
    return sum(max(0.0, score - margin) for score in drawn) / STEPS


def not_worth(
    predicted: Predicted | None, own_burden: float, expected_s: float, leader: tuple[str, float] | None, profile: str
) -> str | None:
    """Why an arm need not be begun, or None. `leader`: the best so far, with its score less its burden."""
    if predicted is None or leader is None:
        return None
    name, worth = leader
    margin = worth + own_burden
    top = predicted.interval[1]
    if top < margin:
        return f"at best it is foretold to score {top:.2f}, and less than {margin:.2f} would not be worth more than {name}"
    gain, price = expected_gain(predicted, margin), playing(expected_s, profile)
    if gain < price:
        return (
            f"it is expected to gain {gain:.4f} over {name}, and playing it for {duration(expected_s)} costs {price:.4f} "
            f"to somebody who minds {profile}"
        )
    return None


def playing(seconds: float, profile: str) -> float:
    """What time spent on playing costs, in points of quality: as making a model for as long."""
    return utility.weights_of(profile).making * math.log10(1 + seconds / 60)


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _measured(name: str, value: float, unit: str) -> Mapping[str, Evidence]:
    return {name: Evidence(name, round(value, 2), unit, "measured in the bake-off")}
