"""One search in one store: which files may be found, what the encoder child finds, and whose files those are.

A filter is evaluated on the attributes before the search, so that it never costs results. What a search must know of
the files is kept in memory until the store's revision says that it has changed. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

from adapters.errors import Conflict, InvalidInput, NotFound, Unavailable
from adapters.retrieval.filters import matches, parse_filter
from adapters.retrieval.fusion import LEXICAL_WEIGHT
from gateway.db.stores import StoreRows
from gateway.stores.places import Places
from gateway.stores.records import Shelf, Store

TOUCHED_AGAIN_AFTER_S = 60.0
"""A store's last activity is written down at most this often."""
SHELVES = 64
"""Stores whose files are kept in memory at once: about 3 MB for one of 10,000 files."""


class Found(Protocol):
    """A passage as the encoder child finds it (`adapters/retrieval/generation.py`)."""

    @property
    def file(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def heading(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def ranks(self) -> Mapping[str, int | None]: ...


class About(Protocol):
    @property
    def encoder(self) -> str: ...


class Finder(Protocol):
    """The encoder child, as far as a search needs it (`gateway/retrieval/retriever.py`)."""

    async def about(self) -> About: ...

    async def search(
        self, generation: Path, queries: Sequence[str], *, limit: int, lexical_weight: float, rerank: bool,
        allowed: Collection[str] | None, without: Collection[str],
    ) -> Sequence[Sequence[Found]]: ...  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hit:
    file_id: str
    filename: str
    attributes: dict[str, Any]
    found: Found


class Searching:
    def __init__(
        self, rows: StoreRows, places: Places, finder: Finder, *, on_other_encoder: Callable[[str], None]
    ) -> None:  # fmt: skip
        """`on_other_encoder`: a store has vectors that the present encoder, whose identity is given, did not make."""
        self._rows, self._places, self._finder = rows, places, finder
        self._on_other_encoder = on_other_encoder
        self._shelves: OrderedDict[str, tuple[int, Shelf]] = OrderedDict()

    async def search(
        self, tenant: str, said: str, queries: Sequence[str], *, limit: int = 10, filters: Any = None,
        lexical_weight: float | None = None, min_score: float = 0.0, rerank: bool = False,
    ) -> list[list[Hit]]:  # fmt: skip
        """For each question its passages, best first. `said`: the store's id or name.

        Raises NotFound for an unknown store, InvalidInput for an expired one or a wrong filter, Unavailable.
        """
        wanted = None if filters is None else parse_filter(filters)
        store, shelf = await asyncio.to_thread(self._look, tenant, said)
        self._keep(store, shelf)
        allowed = None
        if wanted is not None:
            allowed = [file for file, (_, attributes) in shelf.files.items() if matches(wanted, attributes)]
        if store.generation is None or not shelf.files or allowed == []:
            return [[] for _ in queries]
        weight = LEXICAL_WEIGHT if lexical_weight is None else lexical_weight
        try:
            answers = await self._finder.search(
                self._places.generation(store.id, store.generation), queries, limit=limit, lexical_weight=weight,
                rerank=rerank, allowed=allowed, without=sorted(shelf.removed),
            )  # fmt: skip
        except Conflict as other:
            self._on_other_encoder((await self._finder.about()).encoder)
            raise Unavailable(
                f"vector store '{store.id}' was encoded by {store.encoder}; its files are being encoded anew",
                retry_after_s=30.0,
            ) from other
        except NotFound:
            # a generation is kept for a while after it was replaced, but this call may have waited longer than that
            now = await asyncio.to_thread(self._rows.get, tenant, store.id)
            if now.generation == store.generation:
                raise
            return await self.search(
                tenant, store.id, queries, limit=limit, filters=filters, lexical_weight=lexical_weight, min_score=min_score,
                rerank=rerank,
            )  # fmt: skip
        return [[Hit(found.file, *shelf.files[found.file], found) for found in answer
                 if found.file in shelf.files and found.score >= min_score] for answer in answers]  # fmt: skip

    def _look(self, tenant: str, said: str) -> tuple[Store, Shelf]:
        store, now = self._rows.get(tenant, said), time.time()
        if store.is_over(now):
            raise expired(store)
        if now - store.last_active_at > TOUCHED_AGAIN_AFTER_S:
            self._rows.touch(store.id)
        known = self._shelves.get(store.id)
        return store, known[1] if known is not None and known[0] == store.revision else self._rows.shelf(store)

    def _keep(self, store: Store, shelf: Shelf) -> None:
        self._shelves[store.id] = (store.revision, shelf)
        self._shelves.move_to_end(store.id)
        while len(self._shelves) > SHELVES:
            self._shelves.popitem(last=False)


def in_turn(answers: Sequence[Sequence[Hit]], limit: int) -> list[Hit]:
    """The finds of several questions as one list: the first of each, then the second of each; none twice."""
    chosen: dict[tuple[str, int], Hit] = {}
    for row in zip_longest(*answers):
        for hit in row:
            if hit is not None:
                chosen.setdefault((hit.file_id, hit.found.number), hit)
    return list(chosen.values())[:limit]


def expired(store: Store) -> InvalidInput:
    return InvalidInput(
        f"vector store '{store.id}' has expired; the uploaded files are still there: put them into a new store",
        param="vector_store_id", code="vector_store_expired",
    )  # fmt: skip
