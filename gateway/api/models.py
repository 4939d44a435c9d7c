"""/v1/models: what can stand in a request's `model`: the bases, and every published name, in pages; names can be deleted."""

from __future__ import annotations

import asyncio
from typing import Annotated

from litestar import delete, get
from litestar.params import Parameter

from adapters.errors import InvalidInput, NotFound
from gateway.db.names import Pointer
from gateway.db.snapshot import Snapshot
from gateway.reserved import ADVISOR
from gateway.retrieval.retriever import Retriever
from gateway.serving.resolve import Resolver
from gateway.settings import Settings
from gateway.wire.openai import ModelCard, ModelDeleted, ModelList

PAGE = 1000
_ADVISOR = ModelCard(id=ADVISOR, created=0, root=ADVISOR, parent=None, max_model_len=None)


@get("/v1/models", summary="List models")
async def list_models(
    resolver: Resolver, snapshot: Snapshot, settings: Settings, retriever: Retriever, after: str | None = None,
    limit: Annotated[int, Parameter(ge=1, le=10_000)] = PAGE,
) -> ModelList:  # fmt: skip
    """The bases, the encoder and the advisor, then the names in order. `after`: the last id of the page before."""
    await snapshot.refresh()
    first = [*(_base(name, settings) for name in resolver.bases), _encoder(retriever), _ADVISOR]
    own = {card.id for card in first}
    found, more = snapshot.page(None if after in own else after, limit)
    named = [_card(pointer, settings) for pointer in found if pointer.name not in own]
    cards = [*first, *named] if after is None or after in own else named
    return ModelList(cards, has_more=more, first_id=cards[0].id if cards else None, last_id=cards[-1].id if cards else None)


@get("/v1/models/{model_id:path}", summary="One model")
async def get_model(
    model_id: str, resolver: Resolver, snapshot: Snapshot, settings: Settings, retriever: Retriever
) -> ModelCard:  # fmt: skip
    said = model_id.removeprefix("/")
    if said == retriever.model_name and said not in resolver.bases:
        return _encoder(retriever)
    if said == ADVISOR:
        return _ADVISOR
    model = await resolver.resolve(said)
    pointer = snapshot.pointer(model.name)
    return ModelCard(
        id=said, created=int(pointer.created_at or 0) if pointer else 0, root=model.base,
        parent=None if model.name == model.base else model.base, max_model_len=settings.engine_max_model_len,
    )  # fmt: skip


@delete("/v1/models/{model_id:path}", status_code=200, summary="Delete an adapted model")
async def delete_model(model_id: str, resolver: Resolver, snapshot: Snapshot) -> ModelDeleted:
    """The name with all its versions; the names of its checkpoints are others, and stay."""
    name = model_id.removeprefix("/")
    if name in resolver.bases:
        raise InvalidInput(f"'{name}' is a base of this gateway; take it out of its settings", param="model")
    await snapshot.refresh()
    pointer = snapshot.pointer(name)
    unknown = NotFound(f"The model '{name[:200]}' does not exist", param="model", code="model_not_found")
    if pointer is None or (pointer.version, pointer.wanted, pointer.remark) == (None, None, None):
        raise unknown  # deleted before, perhaps: its files may still lie there until no engine can read them
    try:
        await asyncio.to_thread(snapshot.names.forget, name)
    except NotFound as gone:
        raise unknown from gone
    await snapshot.refresh()
    return ModelDeleted(name)


def _base(name: str, settings: Settings) -> ModelCard:
    return ModelCard(id=name, created=0, root=name, parent=None, max_model_len=settings.engine_max_model_len)


def _encoder(retriever: Retriever) -> ModelCard:
    name = retriever.model_name
    return ModelCard(id=name, created=0, root=name, parent=None, max_model_len=retriever.window)


def _card(pointer: Pointer, settings: Settings) -> ModelCard:
    base = pointer.base or ""
    return ModelCard(
        id=pointer.name, created=int(pointer.created_at or 0), root=base, parent=base,
        max_model_len=settings.engine_max_model_len,
    )  # fmt: skip


handlers = (list_models, get_model, delete_model)
