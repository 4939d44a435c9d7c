"""The probability that each method is the best: seeded draws of all scores at once, as errors of one task go together.

    logit of method m in draw d = centre + sd * (sqrt(shared) * g_d + sqrt(1 - shared) * e_dm),   utility = score - burden

The draws are the same for every question, so the same evidence gets the same probabilities, and what differs between two
questions is never the dice. Standard library only.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from functools import lru_cache

from advisor.predicting.contract import Predicted

DRAWS = 400
"""Half of them mirror images of the others; a probability of a half is right within about two points."""
SEED = 6
FEWEST = 0.0005


def probabilities(predicted: Mapping[str, Predicted], burdens: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Of being worth most, by method; they sum to 1. `temperature` above 1 makes them less sure (fitted on outcomes)."""
    utilities = _drawn(predicted, burdens)
    names = list(predicted)
    wins = dict.fromkeys(names, 0)
    for row in utilities:
        wins[names[row.index(max(row))]] += 1
    bent = {name: (count / len(utilities) + FEWEST) ** (1 / temperature) for name, count in wins.items()}
    whole = sum(bent.values())
    return {name: value / whole for name, value in bent.items()}


def advantage(predicted: Mapping[str, Predicted], one: str, other: str) -> tuple[float, float, float]:
    """Of one method's score over another's: mean, and ends of the 90 % interval."""
    first, second = predicted[one], predicted[other]
    rows = _drawn({one: first, other: second}, {one: 0.0, other: 0.0})
    differences = sorted(row[0] - row[1] for row in rows)
    ends = differences[round(0.05 * (len(rows) - 1))], differences[round(0.95 * (len(rows) - 1))]
    return sum(differences) / len(rows), *ends


def _drawn(predicted: Mapping[str, Predicted], burdens: Mapping[str, float]) -> list[tuple[float, ...]]:
    """Utilities, a tuple a draw. Written out, as it is most of what an advice from numbers takes."""
    common, *own = _dice(len(predicted))
    columns, exp = [], math.exp
    for one, dice in zip(predicted.values(), own, strict=True):
        burden, centre = burdens[one.method], one.centre
        together, alone = one.sd * math.sqrt(one.shared), one.sd * math.sqrt(1 - one.shared)
        logits = [centre + together * g + alone * z for g, z in zip(common, dice, strict=True)]
        columns.append([1 / (1 + exp(-logit)) - burden if logit > -40 else -burden for logit in logits])
    return list(zip(*columns, strict=True))


@lru_cache(maxsize=16)
def _dice(methods: int) -> list[tuple[float, ...]]:
    """Of what they have in common, then of each: a column of draws."""
    dice = random.Random(SEED)  # noqa: S311  # a simulation, no secret
    one_way = [tuple(dice.gauss(0, 1) for _ in range(methods + 1)) for _ in range(DRAWS // 2)]
    return list(zip(*one_way, *([-value for value in row] for row in one_way), strict=True))
