"""Searches generations and chooses shots from pools, those last used kept open; encodes a question where that is needed.

Knows no HTTP and no store: a folder is all that it is told.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from adapters.errors import Conflict, NotFound
from adapters.prompting.pool import Pool, open_pool
from adapters.prompting.selectors.choosing import choose, find_selector
from adapters.prompts import Shot
from adapters.retrieval.encoder import Reranker
from adapters.retrieval.generation import META, Found, Generation, Wish
from gateway.retrieval.cache import Known
from gateway.retrieval.wire import About, ChooseRequest, SearchRequest

KEPT_OPEN = 32
"""Generations, and pools: mapped from the disk, so each costs little until it is searched."""

T = TypeVar("T")


class Encoding(Protocol):
    async def encode(self, texts: Sequence[str], *, bulk: bool, cut: bool) -> list[Known]: ...


class Searching:
    def __init__(self, encoding: Encoding, about: About, reranker: str = "") -> None:
        self._encoding, self._about = encoding, about
        self._generations, self._pools = _Opened(self._open_generation), _Opened(self._open_pool)
        self._rerank = _Reranking(reranker).scores if reranker else None

    async def search(self, asked: SearchRequest) -> list[list[Found]]:
        """For each query what was found, best first.

        Raises NotFound for a generation that is gone, Conflict for one that another encoder made, InvalidInput.
        """
        generation = await asyncio.to_thread(self._generations.get, Path(asked.generation))
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
        self._check(pool.encoder, asked.pool)
        (known,) = await self._encoding.encode([asked.question], bulk=False, cut=True)
        return await asyncio.to_thread(choose, pool, asked.selection, asked.question, known.vector)

    def _open_generation(self, folder: Path) -> Generation:
        if not (folder / META).is_file():
            raise NotFound(f"there is no generation in {folder}; it was replaced, or its store is gone")
        try:
            generation = Generation.open(folder)
        except FileNotFoundError:
            raise NotFound(f"the generation in {folder} went away while it was opened") from None
        self._check(generation.encoder_id, str(folder))
        return generation

    def _open_pool(self, folder: Path) -> Pool:
        return open_pool(folder)

    def _check(self, encoder: str, where: str) -> None:
        if encoder and encoder != self._about.encoder:
            raise Conflict(
                f"the vectors in {where} were made by the encoder {encoder}, and this one is {self._about.name} "
                f"({self._about.encoder}); set retrieval.encoder back, or have them made again"
            )


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
