"""What a question needs before it can be put to an engine: a prompt's messages, examples that suit it, passages about it.

Only for questions that need any of it; all others pass by. Knows no engine and no route; the searching, choosing and
rendering are done elsewhere, and this decides what of it is wanted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from adapters.adapted_model import AdaptedModel, RetrievalSpec
from adapters.conversation import WireMessage
from adapters.errors import Conflict, GraftError, InvalidInput, NotFound, Unservable
from adapters.prompts import Selection, Shot, question_of
from adapters.registry import Registry
from adapters.retrieval.shown import Shown, with_passages
from gateway.engines.client import without_paths
from gateway.prompting import Resolved
from gateway.serving.compose import Ask, messages_of
from gateway.serving.gathered import Gathered, Passage
from gateway.stores.searching import Hit
from gateway.telemetry import Telemetry
from gateway.wire.context import PromptReference, Wish

SYSTEM = ("system", "developer")

T = TypeVar("T")


class Retriever(Protocol):
    """As far as it is needed here (`gateway/retrieval/retriever.py`)."""

    async def choose(self, pool: Path, question: str, selection: Selection) -> list[Shot]: ...


class Stores(Protocol):
    """As far as they are needed here (`gateway/stores/library.py`)."""

    @property
    def has_reranker(self) -> bool: ...

    async def search(
        self, store_id: str, queries: Sequence[str], *, limit: int, filters: Any, lexical_weight: float, min_score: float,
        rerank: bool,
    ) -> list[list[Hit]]: ...  # fmt: skip


class Prompts(Protocol):
    """As far as they are needed here (`gateway/prompting.py`)."""

    async def model_of(self, reference: Mapping[str, Any]) -> str: ...

    async def resolve(self, reference: Mapping[str, Any]) -> Resolved: ...


@dataclass(frozen=True, slots=True)
class Search:
    """One search as it is made."""

    stores: tuple[str, ...]
    spec: RetrievalSpec
    """Of which the store is not read."""
    field: str
    """Of the request, or `model` where the adapted model brings the store."""
    filters: Any = None
    reranks: bool = False


def search_for(wish: Wish | None, model: AdaptedModel) -> Search | None:
    """The caller's own store goes before the model's; values the caller leaves out are the model's only for its own store.

    Raises InvalidInput where there is no store to search.
    """
    own = model.retrieval
    if wish is None:
        return Search((own.store,), own, "model") if own is not None else None
    if not wish.stores and own is None:
        raise InvalidInput(f"'{model.name}' has no documents of its own: name a vector store", param=wish.field)
    spec = own if own is not None and not wish.stores else RetrievalSpec("", when_nothing=own.when_nothing if own else "tell")
    spec = replace(
        spec,
        passages=spec.passages if wish.passages is None else wish.passages,
        min_score=spec.min_score if wish.min_score is None else wish.min_score,
        lexical_weight=spec.lexical_weight if wish.lexical_weight is None else wish.lexical_weight,
    )
    return Search(wish.stores or (spec.store,), spec, wish.field if wish.stores else "model", wish.filters, wish.reranks)


def needs_gathering(ask: Ask, model: AdaptedModel) -> bool:
    if ask.wish is not None or ask.prompt is not None or model.retrieval is not None:
        return True
    return model.prompt is not None and model.prompt.select is not None


class Gatherer:
    def __init__(
        self, registry: Registry, retriever: Retriever, stores: Stores, prompts: Prompts, telemetry: Telemetry
    ) -> None:  # fmt: skip
        self._registry, self._retriever, self._stores, self._prompts = registry, retriever, stores, prompts
        self._telemetry = telemetry

    async def model_for(self, prompt: PromptReference) -> str:
        """Who answers where the request itself does not say. Raises InvalidInput where the prompt does not either."""
        named = await self._prompts.model_of(msgspec.to_builtins(prompt))
        if not named:
            raise InvalidInput(
                f"the body has no 'model', and prompt '{prompt.id}' names none: say it in the request or in the prompt's file",
                param="model", code="missing_required_parameter",
            )  # fmt: skip
        return named

    async def gather(self, ask: Ask, model: AdaptedModel) -> Gathered:
        """Waits for an encoder that is starting. Raises InvalidInput or NotFound that names the field, Unavailable."""
        messages, search = messages_of(ask), search_for(ask.wish, model)
        defaults: dict[str, Any] = {}
        if ask.prompt is not None:
            named = await self._prompts.resolve(msgspec.to_builtins(ask.prompt))
            messages, defaults = joined(named.messages, messages), named.defaults
        question = question_of(messages)
        chosen, passages = await asyncio.gather(self._choose(model, question), self._search(search, model, question))
        is_silent = search is not None and not passages and search.spec.when_nothing == "refuse"
        if passages is not None:
            messages = with_passages(messages, [Shown(found.text, found.heading, found.filename) for found in passages])
        return Gathered(messages, question, tuple(chosen), passages, is_silent, defaults)

    async def _choose(self, model: AdaptedModel, question: str) -> list[Shot]:
        pool = self._registry.pool_folder(model)
        if pool is None or model.prompt is None or model.prompt.select is None:
            return []
        try:
            return await self._timed("choose", self._retriever.choose(pool, question, model.prompt.select))
        except (NotFound, InvalidInput, Conflict) as error:  # nothing of it is the caller's doing
            what = without_paths(error.message)
            raise Unservable(f"'{model.name}' cannot choose its examples: {what}", param="model") from error

    async def _search(self, search: Search | None, model: AdaptedModel, question: str) -> tuple[Passage, ...] | None:
        if search is None:
            return None
        if not question.strip():
            return ()
        searching = (self._in_store(store, search, model, question) for store in search.stores)
        found = await self._timed("search", asyncio.gather(*searching))
        if len(found) == 1:
            return tuple(found[0])  # in the order of the fused ranks, which is not quite that of the scores
        # a file may lie in several of them
        known = {(passage.file_id, passage.start, passage.end): passage for each in found for passage in each}
        return tuple(sorted(known.values(), key=lambda passage: -passage.score)[: search.spec.passages])

    async def _in_store(self, store: str, search: Search, model: AdaptedModel, question: str) -> list[Passage]:
        spec = search.spec
        try:
            hits, *_ = await self._stores.search(
                store, [question], limit=spec.passages, filters=search.filters, lexical_weight=spec.lexical_weight,
                min_score=spec.min_score, rerank=search.reranks and self._stores.has_reranker,
            )  # fmt: skip
        except (NotFound, InvalidInput) as error:
            raise _renamed(error, search, model) from error
        return [_passage(hit) for hit in hits]

    async def _timed(self, step: str, work: Awaitable[T]) -> T:
        began = time.monotonic()
        found = await work
        self._telemetry.retrieval.labels(step).observe(time.monotonic() - began)
        return found


def _renamed(error: GraftError, search: Search, model: AdaptedModel) -> GraftError:
    """What a store says, by the names of the request: a chat has no `vector_store_id`."""
    kind, param, message = NotFound if isinstance(error, NotFound) else InvalidInput, error.param, without_paths(error.message)
    if search.field == "model":
        message, param = f"'{model.name}' answers from a vector store that cannot be searched: {message}", "model"
    elif param == "vector_store_id":
        param = search.field
    elif (param or "").startswith("filters"):
        param = f"{search.field.rpartition('.')[0]}.{param}"
    return kind(message, param=param, code=error.code)


def _passage(hit: Hit) -> Passage:
    found = hit.found
    return Passage(
        hit.file_id, hit.filename, hit.attributes, found.heading, found.text, found.start, found.end, found.score
    )  # fmt: skip


def joined(front: Sequence[WireMessage], messages: Sequence[WireMessage]) -> list[WireMessage]:
    """A prompt's messages and then the caller's; what both say to the model beforehand becomes one system message."""
    (ours, front), (theirs, messages) = _beforehand(front), _beforehand(messages)
    said = [{"role": "system", "content": "\n\n".join(ours + theirs)}] if ours or theirs else []
    return [*said, *front, *messages]


def _beforehand(messages: Sequence[WireMessage]) -> tuple[list[str], list[WireMessage]]:
    said, rest = [], list(messages)
    while rest and rest[0].get("role") in SYSTEM and isinstance(rest[0].get("content"), str):
        said.append(rest.pop(0)["content"])
    return said, rest
