"""What has to be said plainly beside a ranking: each a rule from a decision to a sentence that quotes evidence, or to nothing.

Some of it is computed here (how many rows an evaluation needs) and comes as evidence too. The table is in the order in which
it is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adapters.data.dataset import FEWEST_ROWS
from adapters.tuning.recipe import Recipe
from advisor.candidates import TRAINED
from advisor.evidence import Evidence, Found, by_name, number, text
from advisor.predicting import best, predict
from advisor.ranking import Decision
from advisor.reason import Reason, because
from advisor.rules.facts import READS
from advisor.rules.never import FEWEST_PER_CLASS, SATURATED
from advisor.sensitivity import Change

FEW_ROWS = 50
FAR, FAR_BITS, OFF, WEAK = 0.6, 0.5, 0.5, 0.4
"""A shift that is far by itself; bits per byte above everyday text, far together with a shift of OFF, as terse rows of everyday
words cost bits too; a score below which it matters."""
FORM_GAP, ROOM, NEED, GAIN = 0.05, 0.1, 0.5, 0.2
MOST_TO_LABEL = 20
"""Times the rows there are: more than that nobody labels to change a method."""
LEVEL = 0.02
"""Scores nearer to each other than this are not worth an evaluation's while."""
ALPHA_Z, POWER_Z = 1.959964, 0.841621
"""Of a two-sided 5 % and a power of 80 %."""
AGREEING = 0.5
"""Of the rows on which two methods of these scores would differ by chance, those on which they do: they mostly fail alike."""


@dataclass(frozen=True, slots=True)
class Told:
    """What sentences are made from."""

    decision: Decision
    found: Found
    """Complete, with the predictions, and with what is computed here."""
    changes: Mapping[str, Change]
    """By the number that is moved, upwards only."""


def told(decision: Decision, changes: list[Change]) -> Told:
    more = {one.name: one for one in changes if one.present is not None and one.value > one.present}
    found = by_name(predict.evidence(decision.predicted)) | dict(decision.found)
    return Told(decision, found | by_name(_computed(decision, more)), more)


def says(what: Told) -> list[Reason]:
    return [reason for rule in SAYS.values() if (reason := rule(what)) is not None]


def rows_to_tell(difference: float, discordant: float) -> int:
    """Rows that both methods are asked, for an exact McNemar test to find the difference four times in five (Connor, 1987):

    n = (z_a sqrt(discordant) + z_b sqrt(discordant - difference^2))^2 / difference^2

    Both are shares of rows: by how much one is right more often, and how often just one of them is right.
    """
    held = max(discordant, difference)
    root = ALPHA_Z * math.sqrt(held) + POWER_Z * math.sqrt(max(0.0, held - difference * difference))
    return math.ceil((root / difference) ** 2 - 1e-9)


def _computed(decision: Decision, changes: Mapping[str, Change]) -> list[Evidence]:
    made = []
    runners = decision.eligible()
    if len(runners) >= 2:
        first, second = (decision.predicted[one].mean for one in runners[:2])
        mean, low, high = best.advantage(decision.predicted, runners[0], runners[1])
        how = f"of {runners[0]} over {runners[1]}, foretold from draws of both; 90 % interval"
        made.append(Evidence("advantage", round(mean, 4), "share", how, None, (round(low, 4), round(high, 4))))
        difference = abs(first - second)
        if difference >= LEVEL:
            discordant = max(difference, AGREEING * (first * (1 - second) + second * (1 - first)))
            how = f"McNemar, 5 %, power 80 %: {difference:.2f} apart, one of them alone right on {discordant:.2f} of the rows"
            made.append(Evidence("rows_to_tell", rows_to_tell(difference, discordant), "rows", how))
    rows = number(decision.found, "n_examples")
    if rows is not None:
        share = Recipe("lora").held_out_share
        made.append(Evidence("held_out_rows", int(rows * share), "rows", f"{share:.0%} of the rows, which a run sets aside"))
    more = round(changes["n_examples"].value - rows) if "n_examples" in changes and rows is not None else 0
    if rows is not None and 0 < more <= MOST_TO_LABEL * max(rows, FEW_ROWS):
        how = f"found by deciding again: with {changes['n_examples'].value:,.0f} rows it is {changes['n_examples'].method}"
        made.append(Evidence("rows_to_label", more, "rows", how))
    return made


def _nothing_fits(what: Told) -> Reason | None:
    method = what.decision.method
    if what.decision.fits[method] is not False:
        return None
    return because(what.found, f"Nothing fits: {method} needs {{memory_gib.{method}:.1f}} GiB, and there are {{gpu_gib:.1f}}."
                               " Take a smaller base or a larger machine.")  # fmt: skip


def _too_few_rows(what: Told) -> Reason | None:
    rows, per = number(what.found, "n_examples"), number(what.found, "examples_per_class")
    barred = what.decision.barred.get("lora", ())
    if per is not None and per < FEWEST_PER_CLASS and barred:
        says = "{examples_per_class:.3g} rows a label are too few to tune on: it takes two, and ten to do well."
        return because(what.found, says)
    if rows is None or rows >= FEW_ROWS or (rows >= FEWEST_ROWS and what.decision.method in TRAINED):
        return None
    least = f"too few to tune on: it takes {FEWEST_ROWS}, and" if rows < FEWEST_ROWS else "few to tune on:"
    return because(what.found, f"{{n_examples:,.0f}} rows are {least} gains show from 50 to 100.")


def _already_good(what: Told) -> Reason | None:
    score = number(what.found, "base_score")
    if score is None or score < SATURATED or what.decision.method != "zero_shot":
        return None
    says = "Only prompted, the base already scores {base_score:.2f}: stop here, unless cost or latency decide."
    return because(what.found, says)


def _form(what: Told) -> Reason | None:
    gap, size = what.found.get("format_gap"), number(what.found, "format_gap")
    if gap is None or size is None or size < FORM_GAP or (gap.interval is not None and gap.interval[0] <= 0):
        return None
    says = "The form is part of the problem, {format_gap:.2f} of the score: use a schema, which costs nothing."
    return because(what.found, says)


def _facts_missing(what: Told) -> Reason | None:
    found = what.found
    closed, oracle = number(found, "closed_book_score"), number(found, "oracle_score")
    if closed is not None and oracle is not None and max(closed, oracle) >= READS:
        if oracle - closed < ROOM:
            return None
        says = (
            "The facts are missing: {closed_book_score:.2f} without a passage, {oracle_score:.2f} with the right one. Retrieve."
        )
        return because(found, says)
    if text(found, "task_type") == "classification":
        return None
    need = number(found, "needs_new_knowledge")
    if need is not None and need >= NEED:
        there = "" if number(found, "corpus_tokens") != 0 else ", of which none were given"
        says = f"The facts are missing for {{needs_new_knowledge:.0%}} of the answers: retrieve them from documents{there}."
        return because(found, says)
    held, chance = number(found, "answers_in_documents"), number(found, "answers_by_chance")
    if held is None or chance is None or held - chance < GAIN:
        return None
    says = "The documents hold {answers_in_documents:.0%} of the answers, random passages {answers_by_chance:.0%}"
    if oracle is None:
        return because(found, f"{says}: retrieve.")
    unread = "but this base does not tell them even with the right passage before it ({oracle_score:.2f})"
    return because(found, f"{says}, {unread}: retrieve and train it to read, or take a larger base.")


def _too_far(what: Told) -> Reason | None:
    found = what.found
    score, shift = number(found, "base_score"), number(found, "domain_shift")
    ours, usual = number(found, "bits_per_byte"), number(found, "bits_per_byte_reference")
    if score is not None and score >= WEAK:
        return None
    advice = "take a base of that field, or pretrain further on at least 10 million tokens"
    if ours is not None and usual is not None and ours - usual >= FAR_BITS and (shift is None or shift >= OFF):
        far = "This base is far from such text, {bits_per_byte:.2f} bits per byte where everyday text has"
        return because(found, f"{far} {{bits_per_byte_reference:.2f}}: {advice}.")
    if shift is None or shift < FAR or (ours is not None and usual is not None):
        return None
    return because(found, f"The data is far from general text, a shift of {{domain_shift:.2f}}: {advice}.")


def _too_small_to_tell(what: Told) -> Reason | None:
    found, runners = what.found, what.decision.eligible()
    needed, held = number(found, "rows_to_tell"), number(found, "held_out_rows")
    if len(runners) < 2 or held is None:
        return None
    pair = f"{runners[0]} from {runners[1]}"
    if needed is None:
        near = f"{runners[0]} and {runners[1]} are foretold within {LEVEL:.0%} of each other, an advantage of {{advantage:.2f}}"
        return because(found, f"{near}: no evaluation of a usual size tells them apart, so take the cheaper.")
    if held >= needed:
        return None
    says = "{held_out_rows:,.0f} rows are held out, and it takes {rows_to_tell:,.0f}"
    return because(found, f"The evaluation is too small to tell {pair}: {says}, {needed - held:,.0f} more.")


def _label_more(what: Told) -> Reason | None:
    change = what.changes.get("n_examples")
    more = number(what.found, "rows_to_label")
    if change is None or more is None:
        return None
    return because(what.found, f"Label {{rows_to_label:,.0f}} more rows and the best method becomes {change.method}.")


SAYS: dict[str, Callable[[Told], Reason | None]] = {
    "nothing_fits": _nothing_fits,
    "already_good": _already_good,
    "facts_missing": _facts_missing,
    "form": _form,
    "too_far": _too_far,
    "too_few_rows": _too_few_rows,
    "too_small_to_tell": _too_small_to_tell,
    "label_more": _label_more,
}
