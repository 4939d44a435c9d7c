"""The rows that share the question's rarer words: BM25, built once for a pool. Needs no encoder, and knows none."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from adapters.prompting.pool import Pool
from adapters.prompting.selectors.contract import Asked

if TYPE_CHECKING:
    from adapters.retrieval.lexical import Lexical


class ByWords:
    by_question = True
    needs_vectors = False

    def rank(self, pool: Pool, asked: Asked) -> list[int]:
        ranked = pool.once("bm25", lambda: _index(pool)).search(asked.question, asked.k, asked.allowed)
        if len(ranked) < asked.k:  # rows without a word of the question are as good as each other: in the pool's order
            others = asked.allowed.copy()
            others[ranked] = False
            ranked += [int(row) for row in np.flatnonzero(others)[: asked.k - len(ranked)]]
        return ranked


def _index(pool: Pool) -> Lexical:
    from adapters.retrieval import lexical  # here, so that who chooses otherwise does not import bm25s

    with TemporaryDirectory(prefix="graft-shots-") as folder:
        lexical.write((row.user for row in pool.rows), Path(folder))
        return lexical.Lexical(Path(folder))  # it is mapped: what is mapped outlives its name
