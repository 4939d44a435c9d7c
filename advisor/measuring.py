"""From rows, documents and a base to evidence: the one entry to all that is measured, within a budget of time.

The budget is turned into amounts of work at the speeds that `asking/base.py` and the constants here assume, so the same file
gets the same numbers; only on a machine that is much slower does the clock leave questions out, which they then say. Decides
nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.conversation import Example
from adapters.errors import InvalidInput
from adapters.retrieval.chunks import Passage
from advisor.asking.base import Base
from advisor.evidence import Evidence, Found, by_name, number, text
from advisor.profile import profile

if TYPE_CHECKING:
    from adapters.retrieval.encoder import Encoder
    from advisor.asking.rows import Rows
    from advisor.knowledge import Library

BUDGET_S = 60.0
ENCODING_SHARE, ASKING_SHARE = 0.25, 0.5
"""Of the budget; the rest is for reading, opening both models and what is counted."""
PIECES_PER_S = 4000.0
"""MiniLM's on two cores."""
MOST_ENCODED = 2000
PATIENCE = 2.0
"""Times the budget after which no further question is put to the base."""

Said = Callable[[str], None]


@dataclass(frozen=True)
class Models:
    encoder: Encoder
    base: Base | None


def measure(
    examples: Sequence[Example],
    *,
    documents: Path | Sequence[Passage] | None = None,
    base_folder: Path | None = None,
    test: Sequence[Example] | None = None,
    kind: tuple[str, str] | None = None,
    seed: int = 0,
    budget_s: float = BUDGET_S,
    patience: float = PATIENCE,
    said: Said = lambda _: None,
) -> list[Evidence]:
    """All evidence there is about at least one row. `documents`: a folder, or passages of it; `test`: rows set aside; `kind`:
    of task, and how that is known, where it need not be guessed.

    `said` is told in one sentence what is being done. Raises InvalidInput for no rows, or a folder that holds no document or
    no base.
    """
    if not examples:
        raise InvalidInput("there are no rows to measure", param="file")
    began = time.monotonic()
    said("opening the models")
    return measured(
        examples, opened(base_folder), documents=documents, test=test, kind=kind, seed=seed, budget_s=budget_s,
        deadline=began + patience * budget_s, said=said,
    )  # fmt: skip


def opened(base_folder: Path | None) -> Models:
    from adapters.embedded import encoder_folder
    from adapters.retrieval.encoder import Encoder

    return Models(Encoder(encoder_folder()), None if base_folder is None else Base(base_folder))


def measured(
    examples: Sequence[Example], models: Models, *, documents: Path | Sequence[Passage] | None, test: Sequence[Example] | None,
    kind: tuple[str, str] | None, seed: int, budget_s: float, deadline: float, said: Said,
) -> list[Evidence]:  # fmt: skip
    """`deadline`: a reading of time.monotonic()."""
    base, encoder = models.base, models.encoder
    said(f"reading {len(examples):,} rows")
    found = profile(examples, counting=None if base is None else base.counting(), test=test, seed=seed, kind=kind)
    said("comparing them with everyday text")
    found += _shift(examples, encoder, seed)
    pieces = budget_s * ENCODING_SHARE * PIECES_PER_S * (1 if documents is None else 0.5)
    is_classification = text(by_name(found), "task_type") == "classification"
    rows = _encoded(examples, encoder, pieces, base, seed, said, is_classification=is_classification)
    found += _learnability(rows, len(examples))
    books = None
    if documents is not None:
        books, about = _documents(documents, rows, encoder, pieces, said)
        found += about
    else:
        found.append(_raw_text(examples, by_name(found)))
    if base is not None:
        found += _asked(base, rows, books, budget_s * ASKING_SHARE, deadline, said)
    return found + derived(found)


def _documents(
    documents: Path | Sequence[Passage], rows: Rows, encoder: Encoder, pieces: float, said: Said
) -> tuple[Library, list[Evidence]]:
    from adapters.embedded import encoder_folder
    from adapters.retrieval.chunks import counter
    from advisor import knowledge

    passages = knowledge.read_folder(documents, counter(encoder_folder())) if isinstance(documents, Path) else documents
    said(f"encoding {len(passages):,} passages")
    order = rows.order or list(range(len(rows.examples)))
    chosen = [rows.examples[one] for one in order]
    books = knowledge.library(passages, chosen, encoder, seed=rows.seed, pieces=pieces)
    return books, knowledge.in_documents(books, chosen, rows.vectors[order], seed=rows.seed)


def _raw_text(examples: Sequence[Example], found: Found) -> Evidence:
    """What there is to search or to pretrain on, where no documents came with the rows."""
    if any(example.is_document for example in examples):
        tokens = number(found, "dataset_tokens") or 0.0
        return Evidence(
            "corpus_tokens", round(tokens), "tokens", "the rows themselves: " + found["dataset_tokens"].how, len(examples)
        )
    return Evidence("corpus_tokens", 0, "tokens", "no documents were given")


def derived(found: Sequence[Evidence]) -> list[Evidence]:
    """What follows from two that were measured."""
    whole = by_name(found)
    scores = [one for name in ("zero_shot_score", "zero_shot_choices_score")
              if (one := whole.get(name)) is not None and number(whole, name) is not None]  # fmt: skip
    if not scores:
        return []
    best = max(scores, key=lambda one: number(whole, one.name) or 0.0)
    return [Evidence("base_score", best.value, best.unit, f"the better of what the base scores unprompted: {best.name}", best.n,
                     best.interval)]  # fmt: skip


def _shift(examples: Sequence[Example], encoder: Encoder, seed: int) -> list[Evidence]:
    from advisor.shift import sample
    from advisor.shift.table import DETECTORS, MATCHED

    whole = sample.of_examples(examples, encoder, seed=seed), sample.reference(encoder)
    matched = sample.matched(examples, encoder, seed=seed)
    return [one for name, detector in DETECTORS.items() for one in detector(*(matched if name in MATCHED else whole), seed)]


def _encoded(
    examples: Sequence[Example], encoder: Encoder, pieces: float, base: Base | None, seed: int, said: Said, *,
    is_classification: bool,
) -> Rows:  # fmt: skip
    """As many rows as there is room for, drawn by seed, with their questions' vectors; in the file's order."""
    from adapters.conversation import wire
    from adapters.prompts import question_of
    from advisor.asking.rows import MOST_SHOT_TOKENS, Rows

    drawn = random.Random(seed).sample(range(len(examples)), min(MOST_ENCODED, len(examples)))  # noqa: S311  # a sample
    texts = [question_of(wire(examples[one].prompt)) or examples[one].answer for one in drawn]
    room, kept = pieces, 0
    for size in encoder.pieces(texts):
        room -= min(size, encoder.max_tokens)
        if room < 0 and kept:
            break
        kept += 1
    chosen = sorted(drawn[:kept])
    said(f"encoding {kept:,} questions")
    by_number = dict(zip(drawn, texts, strict=True))
    vectors = encoder.encode([by_number[one] for one in chosen])
    rows = [examples[one] for one in chosen]
    unread = [False] * len(rows) if base is None else base.cannot_read(rows)
    barred = frozenset(place for place, is_unread in enumerate(unread) if is_unread)
    made = Rows(rows, vectors, seed, is_classification, barred)
    if base is None:
        return made
    room = min(MOST_SHOT_TOKENS, base.facts.context // 3)
    return replace(made, count=lambda text: base.sizes([text])[0], shot_tokens=room)


def _learnability(rows: Rows, of: int) -> list[Evidence]:
    from advisor.learnability import learnability

    if any(example.is_document for example in rows.examples):
        return []
    return learnability(rows.examples, rows.vectors, rows.is_classification, of=of, seed=rows.seed)


def _asked(
    base: Base, rows: Rows, books: Library | None, seconds: float, deadline: float, said: Said
) -> list[Evidence]:  # fmt: skip
    from advisor.asking.asker import Asker
    from advisor.asking.plan import plan, played
    from advisor.asking.questions import in_order

    tokens = base.tokens_in(seconds)
    asker = Asker(base, rows)
    questions, missing = in_order(asker, books)
    try:
        made = plan(questions, tokens, max(1, len(rows.order)))
    except InvalidInput as wrong:  # such as roles that its template refuses
        return [one for question in questions for one in question.unasked(wrong.message)] + missing
    return played(made, deadline, tokens, said) + missing
