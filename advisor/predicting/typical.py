"""What to expect of a method before anything was measured: the level of the kind of task, and what the rules say.

    logit = middle of the kind's published levels, prompted and tuned + logits_per_point * sum of the method's votes
    variance = spread^2 + unknown_spread^2 * decisive numbers that are not known

The votes are a prior and nothing more: whatever is measured is weighed against them by precision (`predict.py`), and a
measurement's spread is a fraction of theirs. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

from advisor.evidence import Found, text
from advisor.predicting.contract import Normal, logit
from advisor.predicting.figures import Published

DECISIVE: dict[str, tuple[str, ...]] = {
    "n_examples": ("n_examples",),
    "task_type": ("task_type",),
    "domain_shift": ("domain_shift",),
    "needs_new_knowledge": ("needs_new_knowledge", "answers_in_documents", "unknown_share", "oracle_score"),
    "knowledge_changes": ("knowledge_changes",),
    "params_b": ("params_b",),
}
"""The numbers an answer hangs on, and what stands for each."""


def missing(found: Found) -> list[str]:
    """Names of the decisive numbers that nothing stands for."""
    return [name for name, stand_ins in DECISIVE.items() if all(text(found, one) is None for one in stand_ins)]


@dataclass(frozen=True, slots=True)
class Typical:
    """Of one question; every method's expectation is this one, moved by its votes."""

    middle: float
    variance: float
    logits_per_point: float

    def of(self, points: float) -> Normal:
        """`points`: the sum of a method's votes."""
        return Normal(self.middle + self.logits_per_point * points, self.variance)


def typical(found: Found, published: Published) -> Typical:
    level = published.levels.get(text(found, "task_type") or "", published.levels[""])
    middle = (logit(level.prompted) + logit(level.tuned)) / 2
    variance = published.spread**2 + len(missing(found)) * published.unknown_spread**2
    return Typical(middle, variance, published.logits_per_point)
