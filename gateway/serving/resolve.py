"""From the name in a request to the adapted model that answers. Knows no engine and no body."""

from __future__ import annotations

from typing import Protocol

from adapters.adapted_model import AdaptedModel
from adapters.errors import InvalidInput
from gateway.reserved import ADVISOR
from gateway.settings import Settings


class PublishedNames(Protocol):
    async def resolve(self, said: str, sticky: str | None = None) -> AdaptedModel:
        """Raises NotFound with the code `model_not_found`."""
        ...


class Resolver:
    """Bases answer under their own name, untouched; every other name is the database's to know."""

    def __init__(self, settings: Settings, names: PublishedNames) -> None:
        self.bases = {base.name: AdaptedModel(base.name, 0, base.name) for base in settings.bases}
        self._names = names

    async def resolve(self, said: str, sticky: str | None = None) -> AdaptedModel:
        """`sticky` keeps one caller on one version while canaries run. Raises NotFound (`model_not_found`)."""
        if said == ADVISOR:
            raise InvalidInput(
                "the advisor answers conversations: use /v1/chat/completions", param="model", code="unsupported_endpoint"
            )
        return self.bases.get(said) or await self._names.resolve(said, sticky)
