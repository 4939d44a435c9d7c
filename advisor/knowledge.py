"""Do the documents hold the answers? Asked with the rows' own questions, against random passages as the null.

Says nothing of what the base knows by itself. Needs the encoder and the index.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from adapters.conversation import Example
from adapters.retrieval.encoder import Encoder
from adapters.retrieval.index import Index
from adapters.retrieval.passages import Passage
from advisor.evidence import Evidence, share
from advisor.profile import CHARACTERS_PER_TOKEN
from advisor.shift.sample import without_frame

NEAREST = 3
MOST_ROWS = 200
MOST_PASSAGES = 4000
"""Encoding this many takes about a minute on two cores; beyond, a seeded sample stands for the folder."""

SHORT_ANSWER_WORDS = 4
FOUND_SHARE = 0.7
"""A longer answer counts as found when this share of its content words stands in the passages."""

WORD = re.compile(r"\w+(?:[.\-']\w+)*")
EMPTY_WORDS = frozenset({
    "a", "about", "all", "also", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "could",
    "did", "do", "does", "for", "from", "had", "has", "have", "he", "her", "his", "how", "i", "if", "in", "into", "is",
    "it", "its", "just", "may", "more", "most", "no", "not", "of", "on", "one", "only", "or", "other", "our", "out",
    "over", "she", "should", "so", "some", "such", "than", "that", "the", "their", "them", "then", "there", "these",
    "they", "this", "those", "to", "too", "up", "use", "used", "was", "we", "were", "what", "when", "where", "which",
    "who", "will", "with", "would", "you", "your",
})  # fmt: skip


def knowledge(examples: Sequence[Example], passages: Sequence[Passage], encoder: Encoder, *, seed: int) -> list[Evidence]:
    rng = random.Random(seed)  # noqa: S311  # a sample, no secret
    rows = rng.sample(list(examples), min(MOST_ROWS, len(examples)))
    kept = rng.sample(list(passages), MOST_PASSAGES) if len(passages) > MOST_PASSAGES else list(passages)
    index = Index(encoder.encode([f"{passage.title}. {passage.text}" for passage in kept]))
    asked = without_frame([example.question for example in rows])
    _, nearest = index.search(encoder.encode(asked), NEAREST)
    hits = sum(_holds(kept, map(int, ids), row.answer) for ids, row in zip(nearest, rows, strict=True))
    chance = sum(_holds(kept, rng.sample(range(len(kept)), min(NEAREST, len(kept))), row.answer) for row in rows)
    tokens = sum(len(passage.text) for passage in passages) / CHARACTERS_PER_TOKEN
    estimate = f"characters / {CHARACTERS_PER_TOKEN:g} over the documents"
    partly = "" if len(kept) == len(passages) else f" ({len(kept)} of {len(passages)} passages, drawn by seed {seed})"
    return [
        Evidence("corpus_tokens", round(tokens), "tokens", estimate, len(passages)),
        share(
            "answers_in_documents",
            hits,
            len(rows),
            f"rows whose answer is in the {NEAREST} passages nearest by meaning{partly}",
        ),
        share("answers_by_chance", chance, len(rows), f"the same rows, {NEAREST} random passages"),
    ]


def _holds(passages: Sequence[Passage], ids: Sequence[int] | map[int], answer: str) -> bool:
    text = " ".join(f"{passages[number].title} {passages[number].text}" for number in ids if number >= 0)
    return holds(text, answer)


def holds(text: str, answer: str) -> bool:
    """Whether a short answer stands in the text word for word, or most content words of a longer one do."""
    words = [word.lower() for word in WORD.findall(text)]
    wanted = [word.lower() for word in WORD.findall(answer)]
    if not wanted:
        return False
    if len(wanted) <= SHORT_ANSWER_WORDS:
        return f" {' '.join(wanted)} " in f" {' '.join(words)} "
    content = {word for word in wanted if word not in EMPTY_WORDS} or set(wanted)
    return len(content & set(words)) >= FOUND_SHARE * len(content)
