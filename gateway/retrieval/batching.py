"""Texts that wait for one encoder: what arrives together is encoded together, sorted by length, single questions before bulk.

A text that several callers wait for is encoded once; one that nobody waits for any more is not begun. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from adapters.errors import InvalidInput
from adapters.retrieval.passes import Tokenized
from gateway.retrieval.cache import VectorCache, digest_of
from gateway.retrieval.contract import Known
from gateway.retrieval.wire import About

if TYPE_CHECKING:
    from adapters.retrieval.encoder import Vectors

SLICE_TOKENS = 2048
"""Of one pass, padding included. Two cores are at their full speed from some hundreds, and a question that comes while bulk
is encoded waits for one such pass."""
PASS_COSTS = 48
"""Tokens that could be encoded in the time that a pass takes by itself: more padding than this is not put into one."""
PLANNED = 4096
"""Most texts that are sorted by length at once."""
READ = 512
"""Most texts that are tokenized at once."""

T = TypeVar("T")


class TwoSteps(Protocol):
    """`adapters.retrieval.passes.Passes`, as far as it is needed here."""

    def tokenize(self, texts: Sequence[str]) -> list[Tokenized]: ...
    def encode(self, batch: Sequence[Tokenized]) -> Vectors: ...


def _future() -> asyncio.Future[T]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class _Wanted:
    digest: bytes
    text: str
    callers: int = 0
    tokens: Tokenized = field(default_factory=lambda: Tokenized((), 0))
    counted: asyncio.Future[int] = field(default_factory=_future)
    done: asyncio.Future[Known] = field(default_factory=_future)

    def fail(self, error: Exception) -> None:
        for answer in (self.counted, self.done):
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # looked at: it is no fault if nobody waits for it any more


@dataclass(slots=True)
class _Lane:
    """Texts on their way: as they came, tokenized, and planned as passes."""

    wanted: dict[bytes, _Wanted] = field(default_factory=dict)
    unread: deque[_Wanted] = field(default_factory=deque)
    read: deque[_Wanted] = field(default_factory=deque)
    planned: deque[list[_Wanted]] = field(default_factory=deque)

    @property
    def is_ready(self) -> bool:
        return bool(self.read or self.planned)

    @contextlib.contextmanager
    def waiting(self, asked: dict[bytes, str]) -> Iterator[dict[bytes, _Wanted]]:
        """Wants the texts for as long as the block runs."""
        mine: dict[bytes, _Wanted] = {}
        for digest, text in asked.items():
            one = self.wanted.get(digest)
            if one is None:
                one = self.wanted[digest] = _Wanted(digest, text)
                self.unread.append(one)
            one.callers += 1
            mine[digest] = one
        try:
            yield mine
        finally:
            for one in mine.values():
                one.callers -= 1
                if not one.callers:
                    self.forget(one)

    def forget(self, one: _Wanted) -> None:
        if self.wanted.get(one.digest) is one:
            del self.wanted[one.digest]


class Batching:
    """The encoding by an encoder in this process."""

    def __init__(self, encoder: TwoSteps, about: About, cache: VectorCache) -> None:
        self._encoder, self._about, self._cache = encoder, about, cache
        self._single, self._bulk = _Lane(), _Lane()
        self._came, self._were_read = asyncio.Event(), asyncio.Event()
        self._tokenizing, self._encoding = ThreadPoolExecutor(1, "tokenize"), ThreadPoolExecutor(1, "encode")

    async def about(self) -> About:
        return self._about

    async def encode(self, texts: Sequence[str], *, bulk: bool, cut: bool) -> list[Known]:
        digests = [digest_of(self._about.encoder, text) for text in texts]
        known = {digest: found for digest in digests if (found := self._cache.get(digest)) is not None}
        asked = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in known}
        with (self._bulk if bulk else self._single).waiting(asked) as wanted:
            self._came.set()
            if not cut:
                counts = {digest: found.tokens for digest, found in known.items()}
                for digest, one in wanted.items():
                    counts[digest] = await asyncio.shield(one.counted)
                self._refuse_longer([counts[digest] for digest in digests])
            for digest, one in wanted.items():
                known[digest] = await asyncio.shield(one.done)
        return [known[digest] for digest in digests]

    def _refuse_longer(self, counts: list[int]) -> None:
        for index, count in enumerate(counts):
            if count > self._about.window:
                raise InvalidInput(
                    f"input[{index}] has {count:,} tokens, and the encoder reads {self._about.window:,}; shorten or cut it",
                    param=f"input[{index}]", code="context_length_exceeded",
                )  # fmt: skip

    async def work(self) -> None:
        """Until cancelled."""
        try:
            await asyncio.gather(self._tokenize_on(), self._encode_on())
        finally:
            self._tokenizing.shutdown(wait=False)
            self._encoding.shutdown(wait=False)

    async def _tokenize_on(self) -> None:
        while True:
            lane = self._single if self._single.unread else self._bulk
            if not lane.unread:
                self._came.clear()
                await self._came.wait()
                continue
            taken = _alive(_first(lane.unread, READ))
            texts = [one.text for one in taken]
            found = await self._tried(taken, lane, self._tokenizing, partial(self._encoder.tokenize, texts))
            for one, tokens in zip(taken, found, strict=False):
                one.tokens = tokens
                one.counted.set_result(tokens.count)
                lane.read.append(one)
            self._were_read.set()

    async def _encode_on(self) -> None:
        while True:
            lane = self._single if self._single.is_ready else self._bulk
            if not lane.is_ready:
                self._were_read.clear()
                await self._were_read.wait()
                continue
            if not lane.planned:
                lane.planned.extend(plan(_alive(_first(lane.read, PLANNED))))
                continue
            batch = [one for one in _alive(lane.planned.popleft()) if not self._is_known(one, lane)]
            tokens = [one.tokens for one in batch]
            found = await self._tried(batch, lane, self._encoding, partial(self._encoder.encode, tokens))
            for one, vector in zip(batch, found, strict=False):
                self._cache.put(
                    one.digest, known := Known(vector.copy(), one.tokens.count)
                )  # a view would keep the whole batch
                one.done.set_result(known)
                lane.forget(one)

    def _is_known(self, one: _Wanted, lane: _Lane) -> bool:
        """Whether it went through the other lane meanwhile."""
        known = self._cache.get(one.digest)
        if known is not None:
            one.done.set_result(known)
            lane.forget(one)
        return known is not None

    async def _tried(
        self, batch: list[_Wanted], lane: _Lane, thread: ThreadPoolExecutor, work: Callable[[], Iterable[T]]
    ) -> Iterable[T]:
        """What the work gives; where it fails, those who wait for the batch are told, and there is nothing."""
        if not batch:
            return ()
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work)
        except Exception as error:
            for one in batch:
                one.fail(error)
                lane.forget(one)
            return ()


def _first(waiting: deque[_Wanted], most: int) -> list[_Wanted]:
    return [waiting.popleft() for _ in range(min(most, len(waiting)))]


def _alive(wanted: Iterable[_Wanted]) -> list[_Wanted]:
    return [one for one in wanted if one.callers]


def plan(texts: Sequence[_Wanted]) -> list[list[_Wanted]]:
    """Passes of at most SLICE_TOKENS, the longest texts first, each with less padding than another pass would cost."""
    passes: list[list[_Wanted]] = []
    longest = padding = 0
    for one in sorted(texts, key=lambda one: -len(one.tokens.ids)):
        length = len(one.tokens.ids)
        padding += longest - length
        if passes and padding <= PASS_COSTS and longest * (len(passes[-1]) + 1) <= SLICE_TOKENS:
            passes[-1].append(one)
        else:
            passes.append([one])
            longest, padding = length, 0
    return passes
