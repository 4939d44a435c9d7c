"""Do the documents hold the answers, and are they found? Asked with the rows' own questions, against random passages.

Searched as a gateway searches a store: by meaning and by words. Says nothing of what the base knows by itself; `asking/`
asks it. Needs the encoder.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.conversation import Example, wire
from adapters.errors import InvalidInput
from adapters.prompts import question_of
from adapters.retrieval.chunks import Chunking, Count, Passage, cut, headed
from adapters.retrieval.documents import read_document
from adapters.retrieval.encoder import Encoder
from adapters.retrieval.gold import Texts, gold, holds
from adapters.retrieval.parsing.table import PARSERS
from advisor.evidence import Evidence, share
from advisor.rows.counting import CHARACTERS_PER_TOKEN

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from adapters.retrieval.lexical import Lexical

CHUNKING = Chunking(max_tokens=224)
"""What MiniLM reads whole, with a heading; three fit any prompt."""
NEAREST = 3
MOST_ROWS = 200
BY_WORDS = 4
"""Passages a question finds by its words alone that are encoded in any case."""
DEPTH = 100


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


@dataclass(frozen=True)
class Library:
    """The documents as far as they are encoded: all passages, or those that the rows' questions or answers touch and as many
    others as there is room for."""

    passages: Sequence[Passage]
    vectors: NDArray[np.float32]
    of: int
    """Passages there are."""
    tokens: int
    covered: int
    """Rows, the first of those it was made for, of which all passages that share most words with them are encoded; of others
    they may be missing, and nothing is said of those."""

    @cached_property
    def texts(self) -> Texts:
        return Texts([_text(passage) for passage in self.passages])

    @cached_property
    def _lexical(self) -> Lexical:
        return _by_words([_text(passage) for passage in self.passages])

    def found(self, question: str, vector: NDArray[np.float32], most: int) -> list[int]:
        """Numbers of passages, best first, fused as a store's generation does."""
        import numpy as np

        from adapters.retrieval.fusion import LEXICAL_WEIGHT, fused

        cosines = self.vectors @ vector
        dense = [int(number) for number in np.argsort(-cosines, kind="stable")[:DEPTH]]
        worded = self._lexical.search(question, DEPTH)
        both = list(dict.fromkeys((*dense, *worded)))
        near = {number: max(0.0, float(cosines[number])) for number in both}
        covered = dict(zip(both, self._lexical.coverage(question, both), strict=True))
        return fused(dense, worded, LEXICAL_WEIGHT, near, covered)[:most]

    def gold(self, example: Example, vector: NDArray[np.float32]) -> list[int]:
        """Those that answer the row, the surest first."""
        if not self.texts.holding(example.answer):
            return []
        return gold(self.texts, asked(example), example.answer, (self.vectors @ vector).tolist())

    def drawn(self, most: int, dice: random.Random, but: Sequence[int] = ()) -> list[int]:
        numbers = dice.sample(range(len(self.passages)), min(len(self.passages), most + len(but)))
        return [number for number in numbers if number not in but][:most]

    def holds(self, numbers: Sequence[int], answer: str) -> bool:
        return holds(" ".join(f"{self.passages[number].heading} {self.passages[number].text}" for number in numbers), answer)

    @property
    def partly(self) -> str:
        kept = len(self.passages)
        return "" if kept == self.of else f" ({kept} of {self.of} passages: those nearest to a row by words, and random ones)"


def asked(example: Example) -> str:
    """What documents are searched with."""
    return question_of(wire(example.prompt))


def library(
    passages: Sequence[Passage], examples: Sequence[Example], encoder: Encoder, *, seed: int, pieces: float = float("inf")
) -> Library:
    """`pieces`: how many of the encoder's tokens may be encoded, at the least those that the first rows touch."""
    dice = random.Random(seed)  # noqa: S311  # a sample, no secret
    texts = [_text(passage) for passage in passages]
    sizes = encoder.pieces(texts)
    kept, covered = list(range(len(passages))), len(examples)
    window = encoder.max_tokens
    if sum(min(size, window) for size in sizes) > pieces:
        kept, covered = _touched(texts, sizes, examples, pieces, window, dice)
    return Library(
        [passages[number] for number in kept], encoder.encode([texts[number] for number in kept]), len(passages),
        round(sum(map(len, texts)) / CHARACTERS_PER_TOKEN), covered,
    )  # fmt: skip


def _touched(
    texts: Sequence[str], sizes: Sequence[int], examples: Sequence[Example], pieces: float, window: int, dice: random.Random
) -> tuple[list[int], int]:
    """Numbers of texts, and how many examples they were chosen for."""
    lexical, holding = _by_words(texts), Texts(texts)
    kept, room, covered = dict[int, None](), pieces, 0
    for example in examples:
        ranked = lexical.search(asked(example), DEPTH)
        answering = set(holding.holding(example.answer))
        for number in (*ranked[:BY_WORDS], *[one for one in ranked if one in answering][:NEAREST]):
            if number not in kept:
                kept[number] = None
                room -= min(sizes[number], window)
        covered += 1
        if room < pieces / 4:
            break
    for number in dice.sample(range(len(texts)), len(texts)):
        if room <= 0:
            break
        if number not in kept:
            kept[number] = None
            room -= min(sizes[number], window)
    return sorted(kept), covered


def _by_words(texts: Sequence[str]) -> Lexical:
    from adapters.retrieval.lexical import Lexical, write

    with tempfile.TemporaryDirectory(prefix="graft-advisor-") as place:
        write(texts, Path(place))
        return Lexical(Path(place))  # it is mapped: what is mapped outlives its name


def _text(passage: Passage) -> str:
    return headed(passage.heading, passage.text)


def in_documents(
    books: Library, examples: Sequence[Example], vectors: NDArray[np.float32], *, seed: int
) -> list[Evidence]:  # fmt: skip
    """`vectors` (len(examples), width) of what is asked; those that the library covers are searched for, MOST_ROWS at most."""
    dice = random.Random(seed)  # noqa: S311  # a control, no secret
    rows = list(zip(examples, vectors, strict=True))[: min(MOST_ROWS, books.covered)]
    hits = sum(books.holds(books.found(asked(row), vector, NEAREST), row.answer) for row, vector in rows)
    chance = sum(books.holds(books.drawn(NEAREST, dice), row.answer) for row, _ in rows)
    estimate = f"characters / {CHARACTERS_PER_TOKEN:g} over the documents"
    found = f"rows whose answer is in the {NEAREST} passages found first, by meaning and by words{books.partly}"
    return [
        Evidence("corpus_tokens", books.tokens, "tokens", estimate, books.of),
        share("answers_in_documents", hits, len(rows), found),
        share("answers_by_chance", chance, len(rows), f"the same rows, {NEAREST} random passages"),
    ]


def knowledge(examples: Sequence[Example], passages: Sequence[Passage], encoder: Encoder, *, seed: int) -> list[Evidence]:
    """All of it, of a seeded handful of rows, without a base."""
    rows = random.Random(seed).sample(list(examples), min(MOST_ROWS, len(examples)))  # noqa: S311  # a sample, no secret
    books = library(passages, rows, encoder, seed=seed)
    return in_documents(books, rows, encoder.encode([asked(row) for row in rows]), seed=seed)
