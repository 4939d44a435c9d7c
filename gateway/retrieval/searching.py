"""Searches generations and chooses shots from pools, those last used kept open; encodes a question where that is needed.

Knows no HTTP and no store: a folder is all that it is told.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from adapters.errors import Conflict, NotFound
from adapters.prompting.pool import open_pool
from adapters.prompting.selectors.choosing import choose, find_selector
from adapters.prompts import Shot
from adapters.retrieval.encoder import Reranker
from adapters.retrieval.found import Found
from adapters.retrieval.generation import META, Generation, Wish
from gateway.retrieval.contract import Encoding
from gateway.retrieval.wire import ChooseRequest, SearchRequest

KEPT_OPEN = 32
"""Generations, and pools: mapped from the disk, so each costs little until it is searched."""

T = TypeVar("T")


class Searching:
    def __init__(self, encoding: Encoding, reranker: str = "") -> None:
        self._encoding = encoding
        self._generations, self._pools = _Opened(open_generation), _Opened(open_pool)
        self._rerank = _Reranking(reranker).scores if reranker else None

    async def search(self, asked: SearchRequest) -> list[list[Found]]:
        """For each query what was found, best first.

        Raises NotFound for a generation that is gone, Conflict for one that another encoder made, InvalidInput.
        """
        generation = await asyncio.to_thread(self._generations.get, Path(asked.generation))
        await self._check(generation.encoder_id, asked.generation)
        known = await self._encoding.encode(asked.queries, bulk=False, cut=True)
        wishes = [
            Wish(
                question, one.vector, asked.limit, asked.lexical_weight,
                None if asked.allowed is None else frozenset(asked.allowed), frozenset(asked.without), asked.rerank,
            )
            for question, one in zip(asked.queries, known, strict=True)
        ]  # fmt: skip
        return list(await asyncio.gather(*(asyncio.to_thread(generation.search, wish, self._rerank) for wish in wishes)))

    async def choose(self, asked: ChooseRequest) -> list[Shot]:
        """The shots for the question. Raises NotFound for no pool, Conflict for one that another encoder made, InvalidInput."""
        needs_vectors = find_selector(asked.selection.strategy).needs_vectors
        pool = await asyncio.to_thread(self._pools.get, Path(asked.pool))
        if not needs_vectors:
            return await asyncio.to_thread(choose, pool, asked.selection, asked.question)
        await self._check(pool.encoder, asked.pool)
        (known,) = await self._encoding.encode([asked.question], bulk=False, cut=True)
        return await asyncio.to_thread(choose, pool, asked.selection, asked.question, known.vector)

    async def _check(self, encoder: str, where: str) -> None:
        about = await self._encoding.about()
        if encoder and encoder != about.encoder:
            raise Conflict(
                f"the vectors in {where} were made by the encoder {encoder}, and this one is {about.name} ({about.encoder}); "
                "set retrieval.encoder back, or have them made again"
            )


def open_generation(folder: Path) -> Generation:
    """Raises NotFound if it is gone, InvalidInput if it is not whole."""
    if not (folder / META).is_file():
        raise NotFound(f"there is no generation in {folder}; it was replaced, or its store is gone")
    try:
        return Generation.open(folder)
    except FileNotFoundError:
        raise NotFound(f"the generation in {folder} went away while it was opened") from None


class _Opened(Generic[T]):
    """What was opened last, by folder; what it is made of never changes."""

    def __init__(self, opened: Callable[[Path], T]) -> None:
        self._opened = opened
        self._kept: OrderedDict[Path, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, folder: Path) -> T:
        with self._lock:
            if folder in self._kept:
                self._kept.move_to_end(folder)
                return self._kept[folder]
        found = self._opened(folder)  # two at once may both open it, to no harm
        with self._lock:
            for gone in [other for other in self._kept if not other.is_dir()]:
                del self._kept[gone]  # its files are still mapped, and take up the disk for as long as they are
            self._kept[folder] = found
            while len(self._kept) > KEPT_OPEN:
                self._kept.popitem(last=False)
        return found


class _Reranking:
    """Loaded when it is first asked, and asked by one thread at a time: its tokenizer bears no more."""

    def __init__(self, model: str) -> None:
        self._model, self._lock = model, threading.Lock()
        self._reranker: Reranker | None = None

    def scores(self, question: str, passages: Sequence[str]) -> list[float]:
        with self._lock:
            if self._reranker is None:
                self._reranker = Reranker(self._model)
            return self._reranker.scores(question, passages)
