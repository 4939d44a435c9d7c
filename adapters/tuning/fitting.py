"""A run that cannot fit stops before it starts: with the number, what is there, and the nearest recipe that does fit.

Nearest first: changes that leave the result as it is, then those that touch it little, then another method. Knows no
formula.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from adapters.bases import BaseFacts
from adapters.errors import WillNotFit
from adapters.tuning.machine import available_gib
from adapters.tuning.memory import Estimate, Work, predict

SHOWN = ("method", "micro_batch_size", "gradient_checkpointing", "precision", "rank", "sequence_length")
"""What a suggestion may change, in the order it is said."""
SAID_AS = {"sequence_length": "max_length"}
SHORTEST_TOKENS = 128


def check_fits(facts: BaseFacts, asked: Work, *, available: float | None = None, can_quantise: bool = False) -> Estimate:
    """The estimate, or WillNotFit with the numbers and the nearest recipe that fits. `available` in GiB."""
    have = available_gib() if available is None else available
    needed = predict(facts, asked)
    if needed.gib <= have:
        return needed
    nearest = next((other for other in alternatives(asked, can_quantise) if predict(facts, other).gib <= have), None)
    if nearest is None:
        advice, param = "no method fits with this base here: take a smaller base or a larger machine", "method"
    else:
        changed = [name for name in SHOWN if getattr(nearest, name) != getattr(asked, name)]
        knobs = ", ".join(f"{SAID_AS.get(name, name)} {_said(getattr(nearest, name))}" for name in changed)
        advice = f"{knobs} would need {predict(facts, nearest).gib:.1f} GiB and fit"
        param = SAID_AS.get(changed[0], changed[0])
    rows = "" if needed.stage == "answers" else f", {asked.micro_batch_size} rows at once"
    raise WillNotFit(
        f"{asked.method} on this base needs about {needed.gib:.1f} GiB ({asked.sequence_length} tokens{rows}), "
        f"and {have:.1f} GiB are there; {advice}",
        param=param,
    )


def alternatives(asked: Work, can_quantise: bool) -> Iterator[Work]:
    """Other ways to the same end, nearest first."""
    fewer = [dataclasses.replace(asked, micro_batch_size=rows) for rows in _halves(asked.micro_batch_size, 1)]
    yield from fewer
    recomputed = [dataclasses.replace(one, gradient_checkpointing=True) for one in (asked, *fewer)]
    yield from recomputed
    least = recomputed[-1]
    is_full = asked.method == "full" or (asked.method == "continued_pretraining" and asked.weights == "full")
    if is_full and asked.precision == "mixed":
        pure = [dataclasses.replace(one, precision="pure") for one in (asked, *fewer, *recomputed)]
        yield from pure
        least = pure[-1]
    if asked.method == "lora" and can_quantise:
        yield from (dataclasses.replace(one, method="qlora") for one in (asked, *fewer, *recomputed))
        least = dataclasses.replace(least, method="qlora")
    if asked.rank > 8 and not is_full:
        least = dataclasses.replace(least, rank=8)
        yield least
    yield from (
        dataclasses.replace(least, sequence_length=tokens) for tokens in _halves(asked.sequence_length, SHORTEST_TOKENS)
    )
    if asked.objective == "lm":  # what reads text asks and answers nothing
        return
    for method in ("lora", *(["qlora"] if can_quantise else []), "few_shot"):
        if method != asked.method:
            yield dataclasses.replace(least, method=method, rank=min(asked.rank, 8), precision=asked.precision, as_lora=0)


def _halves(number: int, least: int) -> list[int]:
    found = []
    while (number := number // 2) >= least:
        found.append(number)
    return found


def _said(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
