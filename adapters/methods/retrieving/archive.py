"""A run's documents with what encodes questions: cut in every size to compare, or opened again in the size that was chosen.

Knows no answer, no score and no choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from adapters.methods.contract import Choosing
from adapters.methods.retrieving.contexts import Shelf
from adapters.methods.retrieving.cuts import Cut, Documents, cut, documents, sizes
from adapters.retrieval.chunks import Chunking

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_COMPARED = 20_000
"""Passages; where the shortest size would make more, only the longest is tried: 50 to 100 a second are encoded on a CPU."""


class Archive:
    """Of one run. A text is encoded once as long as it lives."""

    def __init__(self, choosing: Choosing) -> None:
        self._choosing = choosing
        self._known: dict[str, NDArray[np.float32]] = {}

    @cached_property
    def documents(self) -> Documents:
        return documents(self._choosing.progress.folder)

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), width), rows of length 1."""
        import numpy as np

        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        if fresh:
            self._known.update(zip(fresh, self._choosing.encode(fresh), strict=True))
        return np.stack([self._known[text] for text in texts])

    def cuts(self) -> Iterator[Cut]:
        """The longest size first, then the others, unless they would be too much to compare."""
        shortest, *longer = sizes(self._choosing.encoder_folder)
        first = self.cut(longer[-1])
        yield first
        if len(first.pieces) * longer[-1].max_tokens / shortest.max_tokens <= MOST_COMPARED:
            yield from (self.cut(chunking) for chunking in (*longer[:-1], shortest))

    def cut(self, chunking: Chunking) -> Cut:
        choosing, progress = self._choosing, self._choosing.progress
        made = cut(
            progress.folder, self.documents, chunking, choosing.encoder_folder, choosing.encode, progress.raise_if_stopped
        )  # fmt: skip
        progress.event("cut", max_tokens=chunking.max_tokens, documents=len(self.documents.files), passages=len(made.pieces))
        return made

    def shelf(self, of: Cut) -> Shelf:
        special = self._choosing.ground.tokenizer.all_special_tokens
        barred = (piece.key for piece in of.pieces if any(token in f"{piece.heading}\n{piece.text}" for token in special))
        return Shelf(of, self.documents, self.vectors, frozenset(barred))
