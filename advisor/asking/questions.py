"""All that is asked of the base, in one list: what tells most for its price comes first. Knows no answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adapters.conversation import Example
from advisor.asking.asker import Asker
from advisor.asking.plan import Question
from advisor.asking.prompting import FEWEST_SHOTS, Prompting
from advisor.asking.reading import Reading
from advisor.evidence import Evidence
from advisor.knowledge import Library
from advisor.shift import surprise


def in_order(asker: Asker, books: Library | None) -> tuple[list[Question], list[Evidence]]:
    """The questions that can be asked, and what is said of those that cannot."""
    if not asker.rows.order:
        return [surprised_by_text(asker)], []
    said = Prompting(asker)
    shows = asker.rows.most_shots >= FEWEST_SHOTS
    missing: list[Evidence] = []
    read = Reading(asker, books) if books is not None else None
    if read is not None and not read.is_possible():
        missing, read = read.missing(), None
    core = [
        said.zero_shot(),
        surprised_by_text(asker),
        *([read.with_oracle(), read.gains(), read.with_found()] if read else []),
        *([said.few_shot()] if shows else []),
        said.surprised("answer_nats_zero_shot", said.none, "nothing but the question before them"),
        *([said.choices()] if asker.rows.labels else []),
        *([said.nearest_shots()] if shows else []),
    ]
    fewer = f"the same {said.k} shots before each"
    others = [
        *([said.form()] if shows else []),
        *([said.some_shots()] if shows else []),
        *([said.surprised("answer_nats_few_shot", said.fixed(said.k), fewer)] if shows else []),
        *([read.with_random(), read.gain_of_found()] if read else []),
    ]
    return [*(replace(question, is_core=True) for question in core), *others], missing


def surprised_by_text(asker: Asker) -> Question:
    """Of the same texts however many rows are asked."""
    examples: Sequence[Example] = asker.rows.examples
    ours, theirs = surprise.texts(examples, seed=asker.rows.seed)

    def ask(_: int) -> list[Evidence]:
        return surprise.surprise(ours, theirs, asker.base.text_losses, seed=asker.rows.seed)

    cost = float(sum(asker.base.sizes([*ours, *theirs])))
    return Question(surprise.NAMES, surprise.UNITS, lambda _: cost, ask)
