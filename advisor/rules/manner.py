"""Rules about how the base answers when it is asked: whether form is what it lacks, whether examples help, how new the text is.

They quote measurements of the task, and speak of methods that were not measured themselves.
"""

from __future__ import annotations

from advisor.evidence import Found, number
from advisor.reason import because
from advisor.rules.contract import Vote, bounded, votes


def form(found: Found) -> list[Vote]:
    """Much of a base's lift by tuning is form: over 310 cells of LoRA Land instruction-tuned bases scored .377 and plain ones
    .226 before, and both .68 after (Zhao et al. 2024); three examples do most of it (URIAL, Lin et al. 2024)."""
    gap = number(found, "format_gap")
    if gap is None:
        return []
    points = bounded(3 * gap, -0.3, 1.0)
    reason = because(found, "{format_gap:.2f} of the score is only a matter of form")
    return votes(reason, few_shot=points, knn_few_shot=points, many_shot=points, lora=0.6 * points, full=0.6 * points)


def examples_help(found: Found) -> list[Vote]:
    """Where examples help, more of them mostly help more, and the nearest most (Bertsch et al. 2024; Agarwal et al. 2024)."""
    slope = number(found, "few_shot_slope")
    if slope is None:
        return []
    points = bounded(8 * slope, -0.8, 0.8)
    return votes(because(found, "each doubling of the examples shown adds {few_shot_slope:.3f}"), many_shot=points)


def new_text(found: Found) -> list[Vote]:
    """Domain pretraining gains in proportion to how much more the text surprises the base (CaseHOLD, Zheng et al. 2021); a loss
    says little of how well examples in a prompt work (Agarwal et al. 2024)."""
    ours, usual = number(found, "bits_per_byte"), number(found, "bits_per_byte_reference")
    if ours is None or usual is None:
        return []
    more = bounded(ours - usual, -0.5, 2.0)
    reason = because(found, "{bits_per_byte:.2f} bits per byte of the texts, {bits_per_byte_reference:.2f} of everyday ones")
    return votes(reason, lora=0.3 * more, full=0.4 * more, continued_pretraining=0.6 * more)
