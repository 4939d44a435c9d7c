"""A passage as a search finds it. Its own file, so that whoever only passes passages on opens no index. Knows no search."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    file: str
    """Its id."""
    number: int
    start: int
    end: int
    heading: str
    text: str
    score: float
    """0 to 1: (1 - w) * cosine + w * share of the question's words held; reranked, the cross-encoder's."""
    ranks: dict[str, int | None]
    """Place from 1 in each ranking, by `dense`, `lexical`, `fused`, `reranked`; None where it is not in it."""
