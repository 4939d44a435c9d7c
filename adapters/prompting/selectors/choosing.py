"""`choose`: the shots that a selection shows for a question. Keeps out the asked row itself, and keeps to the budget.

Knows no selector by name; `table.py` does.
"""

from __future__ import annotations

import difflib

import numpy as np

from adapters.errors import InvalidInput
from adapters.prompting.pool import Pool, Vectors, asked_key
from adapters.prompting.selectors.contract import Asked, Selector
from adapters.prompting.selectors.table import SELECTORS
from adapters.prompts import Selection, Shot


def choose(pool: Pool, selection: Selection, question: str, vector: Vectors | None = None) -> list[Shot]:
    """At most `selection.k` shots, in the order in which to show them: what suits the question most stands nearest to it.

    Never a row that asks what is asked, spacing and letter case aside. With `max_tokens`, rows that are too long for it
    alone are passed over, then those that suit least are dropped until the rest fits. `vector` is the encoded question,
    (width,); only selectors that need vectors look at it. Raises InvalidInput for what cannot be chosen by.
    """
    selector = find_selector(selection.strategy)
    if selection.k < 0:
        raise InvalidInput(f"k must be 0 or more, not {selection.k}", param="select.k")
    if selection.k == 0 or not pool.rows:
        return []
    if selector.needs_vectors:
        _check_vectors(pool, selection.strategy, vector)
    allowed = np.ones(len(pool.rows), dtype=np.bool_)
    allowed[pool.rows_by_key.get(asked_key(question), [])] = False
    if selection.max_tokens is not None:
        allowed &= pool.tokens <= selection.max_tokens
    ranked = selector.rank(pool, Asked(question, vector, selection.k, selection.seed, allowed))
    if selection.max_tokens is not None:
        while ranked and int(pool.tokens[ranked].sum()) > selection.max_tokens:
            ranked.pop()
    if selector.by_question:
        ranked.reverse()
    return [pool.rows[row] for row in ranked]


def find_selector(strategy: str) -> Selector:
    """Raises InvalidInput that names the nearest known one."""
    if strategy not in SELECTORS:
        close = difflib.get_close_matches(strategy, SELECTORS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(SELECTORS)}"
        raise InvalidInput(f"there is no selector '{strategy}'; {hint}", param="select.strategy")
    return SELECTORS[strategy]


def _check_vectors(pool: Pool, strategy: str, vector: Vectors | None) -> None:
    if pool.vectors is None:
        raise InvalidInput(
            f"'{strategy}' needs vectors, and the pool has none; write it with an encoder", param="select.strategy"
        )
    if vector is None or vector.shape != (pool.vectors.shape[1],):
        shape = "none" if vector is None else f"one of shape {vector.shape}"
        raise InvalidInput(
            f"'{strategy}' needs the question's vector of shape ({pool.vectors.shape[1]},) and got {shape}; "
            "encode it by the model that encoded the pool",
            param="select.strategy",
        )
