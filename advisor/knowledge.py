"""Do the documents hold the answers? Asked with the rows' own questions, against random passages as the null.

Says nothing of what the base knows by itself. Needs the encoder and the index.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adapters.conversation import Example
from adapters.errors import InvalidInput
from adapters.retrieval.chunks import Chunking, Count, Passage, cut, headed
from adapters.retrieval.documents import read_document
from adapters.retrieval.encoder import Encoder
from adapters.retrieval.gold import holds
from adapters.retrieval.index import Index
from adapters.retrieval.parsing.table import PARSERS
from advisor.evidence import Evidence, share
from advisor.profile import CHARACTERS_PER_TOKEN
from advisor.shift.sample import without_frame

CHUNKING = Chunking(max_tokens=270)
"""About 200 words: a passage fits an encoder's window of 256 to 512 with little cut, and three fit any prompt."""
NEAREST = 3
MOST_ROWS = 200
MOST_PASSAGES = 4000
"""Encoding this many takes about a minute on two cores; beyond, a seeded sample stands for the folder."""


def read_folder(folder: Path, count: Count) -> list[Passage]:
    """Passages of all documents under the folder, by file name, hidden files left out. What has no heading of its own stands
    under its file's name.

    Raises InvalidInput for no folder, no document in it, or one that cannot be read, with the reason.
    """
    if not folder.is_dir():
        raise InvalidInput(f"'{folder}' is not a folder of documents", param="docs")
    passages: list[Passage] = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in PARSERS and path.suffix and path.is_file()):
        source = path.relative_to(folder)
        if not any(part.startswith(".") for part in source.parts):
            name = path.stem.replace("_", " ").replace("-", " ")
            for passage in cut(read_document(path, source.as_posix()), CHUNKING, count):
                passages.append(replace(passage, heading=passage.heading or name))
    if not passages:
        raise InvalidInput(f"'{folder}' holds no document that can be read (.md, .txt, .html, .pdf, .jsonl …)", param="docs")
    return passages


def knowledge(examples: Sequence[Example], passages: Sequence[Passage], encoder: Encoder, *, seed: int) -> list[Evidence]:
    rng = random.Random(seed)  # noqa: S311  # a sample, no secret
    rows = rng.sample(list(examples), min(MOST_ROWS, len(examples)))
    kept = rng.sample(list(passages), MOST_PASSAGES) if len(passages) > MOST_PASSAGES else list(passages)
    index = Index(encoder.encode([headed(passage.heading, passage.text) for passage in kept]))
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
    text = " ".join(f"{passages[number].heading} {passages[number].text}" for number in ids if number >= 0)
    return holds(text, answer)
