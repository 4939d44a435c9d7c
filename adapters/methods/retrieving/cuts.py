"""A run's documents, cut and encoded in one size, and searched as a gateway searches a store.

    <run>/documents/<id>/<filename>      copies of what the store holds
    <run>/retrieval/prepared/…           each of them in each size; a killed run encodes none again
    <run>/retrieval/<size>/              the generation made of one size

Knows no question's answer and no model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.errors import InvalidInput
from adapters.retrieval.chunks import Chunking, Count, counter, headed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from adapters.retrieval.found import Found
    from adapters.retrieval.generation import Generation
    from adapters.retrieval.gold import Texts

DOCUMENTS, RETRIEVAL = "documents", "retrieval"
SIZES = (3 / 7, 5 / 7, 1)
"""Of the encoder's window without HEADING_TOKENS: 96, 160 and 224 tokens of MiniLM's 256. What is longer it does not read."""
HEADING_TOKENS, DEFAULT_WINDOW = 32, 256
UNREADABLE = "unreadable_document"

Key = tuple[str, int]
"""A passage: its document's id, and its number in it."""
Encode = Callable[[Sequence[str]], "NDArray[np.float32]"]


@dataclass(frozen=True, slots=True)
class Piece:
    key: Key
    heading: str
    text: str
    tokens: int
    """As the encoder counts."""


class Cut:
    """All documents in passages of at most one size."""

    def __init__(self, chunking: Chunking, generation: Generation, prepared: dict[str, Path], count: Count) -> None:
        from adapters.retrieval.prepared import passages_of, vectors_of

        self.chunking, self._generation = chunking, generation
        self.pieces = [
            Piece((file, passage.number), passage.heading, passage.text, count(headed(passage.heading, passage.text)))
            for file, folder in prepared.items()
            for passage in passages_of(folder)
        ]
        self.numbers = {piece.key: number for number, piece in enumerate(self.pieces)}
        self._vectors = [vectors_of(folder) for folder in prepared.values()]

    def search(self, question: str, vector: NDArray[np.float32], lexical_weight: float, limit: int) -> list[Found]:
        from adapters.retrieval.generation import Wish

        return self._generation.search(Wish(question=question, vector=vector, limit=limit, lexical_weight=lexical_weight))

    @cached_property
    def texts(self) -> Texts:
        from adapters.retrieval.gold import Texts

        return Texts([headed(piece.heading, piece.text) for piece in self.pieces])

    def closeness(self, vector: NDArray[np.float32]) -> list[float]:
        """The cosine of every piece with a question, in order."""
        return [float(cosine) for vectors in self._vectors for cosine in vectors @ vector]

    def gold(self, question: str, answer: str, vector: NDArray[np.float32]) -> list[Key]:
        """The passages that answer the question, the surest first; none where no passage does."""
        from adapters.retrieval.gold import gold

        if not self.texts.holding(answer):
            return []
        return [self.pieces[number].key for number in gold(self.texts, question, answer, self.closeness(vector))]


@dataclass(frozen=True, slots=True)
class Documents:
    """By id, the file of each."""

    files: dict[str, Path]
    unreadable: dict[str, str]
    """By filename, why nothing of it is found. Filled as they are cut."""

    def name(self, document: str) -> str:
        return self.files[document].name


def documents(run: Path) -> Documents:
    """Raises InvalidInput where the run was given none."""
    files = {path.parent.name: path for path in sorted((run / DOCUMENTS).glob("*/*")) if path.is_file()}
    if not files:
        raise InvalidInput("rag needs documents to search; name a folder of them, or a store that holds some", param="docs")
    return Documents(files, {})


def prepared_folder(run: Path, document: str, chunking: Chunking) -> Path:
    """Where a document lies as the run has cut and encoded it (`adapters/retrieval/prepared.py`)."""
    return run / RETRIEVAL / "prepared" / f"{document}-{chunking.max_tokens}"


def encoded_by(run: Path, chunking: Chunking) -> str:
    """The identity of the encoder whose vectors those are. Loads no index."""
    meta: dict[str, Any] = json.loads((run / RETRIEVAL / str(chunking.max_tokens) / "meta.json").read_bytes())
    return str(meta["encoder_id"])


def sizes(encoder_folder: Path) -> list[Chunking]:
    """That the encoder reads whole, the shortest first."""
    said = encoder_folder / "sentence_bert_config.json"
    window: Any = json.loads(said.read_bytes()).get("max_seq_length") if said.is_file() else None
    return [Chunking(max_tokens=max(50, round(share * ((window or DEFAULT_WINDOW) - HEADING_TOKENS)))) for share in SIZES]


def cut(
    run: Path, found: Documents, chunking: Chunking, encoder_folder: Path, encode: Encode, between: Callable[[], None]
) -> Cut:  # fmt: skip
    """Prepares what is not prepared yet. A document that cannot be read is left out, with its reason in `found`.

    Raises InvalidInput where none can be read.
    """
    from adapters.retrieval import encoder, generation
    from adapters.retrieval.prepared import prepare

    count = counter(encoder_folder)
    prepared: dict[str, Path] = {}
    for document, path in found.files.items():
        between()
        folder = prepared_folder(run, document, chunking)
        try:
            prepare(path, path.name, folder, chunking, count, encode)
        except InvalidInput as wrong:
            if wrong.code != UNREADABLE:
                raise
            found.unreadable[path.name] = wrong.message
            continue
        prepared[document] = folder
    if not prepared:
        raise InvalidInput(f"no document can be read: {next(iter(found.unreadable.values()))}", param="docs")
    built = run / RETRIEVAL / str(chunking.max_tokens)
    if not built.is_dir():
        generation.build(built, prepared, encoder.identity(encoder_folder))
    return Cut(chunking, generation.Generation.open(built), prepared, count)
