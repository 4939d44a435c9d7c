"""Base against adapted on the same held-out rows: every answer, means with intervals, and whether it got better.

All intervals are 95 %. Knows neither how the answers were made nor what for; the run and the bake-off do.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapters.conversation import Example, wire
from adapters.errors import InvalidInput
from adapters.evaluation.completer import Completer
from adapters.evaluation.loss import RowLoss, bits_per_byte, nats_per_token
from adapters.evaluation.metrics import METRICS, primary
from adapters.prompts import PromptTemplate, render

RESAMPLES = 2000
BYTE_PROBABILITY = "byte_probability"
FEWEST_ITEMS = 6
"""Below six pairs even a clean sweep is no evidence: a two-sided sign test gives p = 0.06 for five of five."""


@dataclass(frozen=True, slots=True)
class Item:
    line: int
    wanted: str
    answer: str
    values: dict[str, float]
    """By metric, each 0 to 1."""
    loss: RowLoss


@dataclass(frozen=True, slots=True)
class Mean:
    mean: float
    interval: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        return {"mean": self.mean, "interval": list(self.interval)}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Positive differences speak for the adapted model, except of the loss, where less is better."""

    metric: str
    n: int
    held_out: int
    """Rows there were; `n` of them, drawn by seed, were scored."""
    base: Mean
    adapted: Mean
    difference: Mean
    base_nats: float
    adapted_nats: float
    nats_difference: Mean
    base_bits_per_byte: float
    adapted_bits_per_byte: float
    better: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        said = {"metric": self.metric, "n": self.n, "held_out": self.held_out}
        said |= {arm: getattr(self, arm).to_json() for arm in ("base", "adapted", "difference")}
        loss = {"base": self.base_nats, "adapted": self.adapted_nats, "difference": self.nats_difference.to_json()}
        bits = {"base": self.base_bits_per_byte, "adapted": self.adapted_bits_per_byte}
        verdict = {"better": self.better, "reason": self.reason}
        return said | {"loss_nats_per_token": loss, "bits_per_byte": bits} | verdict


def sample(held_out: Sequence[Example], most: int, seed: int) -> list[Example]:
    """At most so many rows; which ones follows from content and seed, so both arms are asked the same."""
    return sorted(held_out, key=lambda row: hashlib.sha256(f"{seed}:{row.prompt_key}:{row.answer}".encode()).digest())[:most]


def score(
    completer: Completer, losses: Sequence[RowLoss], examples: Sequence[Example], template: PromptTemplate | None
) -> list[Item]:
    """Asks for every example's last answer; `losses` are those of the same examples, in the same order."""
    return score_asked(completer([render(template, wire(example.prompt)) for example in examples]), losses, examples)


def score_asked(answers: Sequence[str], losses: Sequence[RowLoss], examples: Sequence[Example]) -> list[Item]:
    """Of rows that were answered already."""
    return [
        Item(example.line, example.answer, answer, {name: rate(answer, example.answer) for name, rate in METRICS.items()}, loss)
        for example, answer, loss in zip(examples, answers, losses, strict=True)
    ]


def score_documents(losses: Sequence[RowLoss], examples: Sequence[Example]) -> list[Item]:
    """Texts that answer nothing: how likely the model finds each of their bytes, as the geometric mean of probabilities."""
    return [
        Item(example.line, "", "", {BYTE_PROBABILITY: math.exp(-loss.nats / max(1, loss.answer_bytes))}, loss)
        for example, loss in zip(examples, losses, strict=True)
    ]


def compare(base: Sequence[Item], adapted: Sequence[Item], *, held_out: int, seed: int = 0) -> Comparison:
    """Better: the primary metric's paired interval lies above 0; or it holds 0 and the loss's lies below 0.

    Paired percentile bootstrap over rows (Efron and Tibshirani, 1993); for the loss the ratio of summed nats to summed
    tokens is resampled. Raises InvalidInput unless both are of the same rows in the same order.
    """
    if not base or [(item.line, item.wanted) for item in base] != [(item.line, item.wanted) for item in adapted]:
        raise InvalidInput("a comparison needs the same rows, at least one, in the same order on both sides", param="items")
    metric = BYTE_PROBABILITY if BYTE_PROBABILITY in base[0].values else primary([item.wanted for item in base])
    before, after = [item.values[metric] for item in base], [item.values[metric] for item in adapted]
    difference = paired([y - x for x, y in zip(before, after, strict=True)], [1] * len(base), seed)
    tokens = [item.loss.tokens for item in base]
    nats = paired([y.loss.nats - x.loss.nats for x, y in zip(base, adapted, strict=True)], tokens, seed)
    better, reason = _verdict(len(base), metric, difference, nats)
    base_losses, adapted_losses = [item.loss for item in base], [item.loss for item in adapted]
    return Comparison(
        metric=metric, n=len(base), held_out=held_out,
        base=mean_of(before, seed), adapted=mean_of(after, seed), difference=difference,
        base_nats=nats_per_token(base_losses), adapted_nats=nats_per_token(adapted_losses), nats_difference=nats,
        base_bits_per_byte=bits_per_byte(base_losses), adapted_bits_per_byte=bits_per_byte(adapted_losses),
        better=better, reason=reason,
    )  # fmt: skip


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson's score interval for a share (Wilson, 1927), sound where n is small or the share near 0 or 1."""
    z = 1.959964
    share, spread = successes / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * ((share * (1 - share) + spread / 4) / n) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_of(values: Sequence[float], seed: int) -> Mean:
    """With Wilson's interval where every value is 0 or 1, else with a bootstrap's."""
    if set(values) <= {0.0, 1.0}:
        return Mean(sum(values) / len(values), wilson(sum(values), len(values)))
    return paired(values, [1] * len(values), seed)


def paired(values: Sequence[float], weights: Sequence[int], seed: int) -> Mean:
    """Of sum(values) / sum(weights), resampling rows."""
    import numpy as np

    value, weight = np.asarray(values, dtype=float), np.asarray(weights, dtype=float)
    drawn = np.random.default_rng(seed).integers(0, len(value), size=(RESAMPLES, len(value)))
    low, high = np.quantile(value[drawn].sum(axis=1) / weight[drawn].sum(axis=1), (0.025, 0.975))
    return Mean(float(value.sum() / weight.sum()), (float(low), float(high)))


def _verdict(n: int, metric: str, difference: Mean, nats: Mean) -> tuple[bool, str]:
    if n < FEWEST_ITEMS:
        return False, f"{n} rows cannot show a difference; at least {FEWEST_ITEMS} are needed"
    if difference.interval[0] > 0:
        return True, f"{metric} is higher by {difference.mean:.3f} and the interval lies above 0"
    if difference.interval[1] < 0:
        return False, f"{metric} is lower by {-difference.mean:.3f} and the interval lies below 0"
    if nats.interval[1] < 0:
        return True, f"{metric} is tied, and the loss is lower by {-nats.mean:.3f} nats per token"
    return False, f"neither {metric} nor the loss improved beyond chance"
