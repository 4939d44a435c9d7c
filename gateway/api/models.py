"""GET /v1/models: what can stand in a request's `model`: the bases, and the current version of every published name."""

from __future__ import annotations

from datetime import datetime

from litestar import get

from adapters.adapted_model import AdaptedModel
from gateway.serving.resolve import Resolver
from gateway.settings import Settings
from gateway.wire.openai import ModelCard, ModelList


@get("/v1/models", summary="List models")
async def list_models(resolver: Resolver, settings: Settings) -> ModelList:
    return ModelList([_card(model, settings) for model in await resolver.everything()])


@get("/v1/models/{model_id:path}", summary="One model")
async def get_model(model_id: str, resolver: Resolver, settings: Settings) -> ModelCard:
    said = model_id.removeprefix("/")
    model = await resolver.resolve(said)
    card = _card(model, settings)
    card.id = said
    return card


def _card(model: AdaptedModel, settings: Settings) -> ModelCard:
    made = model.lineage.created
    return ModelCard(
        id=model.name,
        created=int(datetime.fromisoformat(made).timestamp()) if made else 0,
        root=model.base,
        parent=None if model.name == model.base else model.base,
        max_model_len=settings.engine_max_model_len,
    )
