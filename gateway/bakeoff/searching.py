"""The vector store of a bake-off: cut as an arm has found best, searchable before it is asked, gone if none won with it.

A store that was there before is searched as it is, and never cut anew for a trial. Knows no arm.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from adapters.adapted_model import AdaptedModel
from adapters.errors import NotFound
from advisor.bakeoff.contract import Unplayable
from gateway.bakeoff.request import Request, read_request
from gateway.db.database import open_database
from gateway.db.stores import StoreRows
from gateway.settings import Settings
from gateway.stores.filling import Filled, empty, recut
from gateway.stores.library import TENANT

LOOK_S = 0.5
PATIENCE_S = 600.0


def for_store(draft: AdaptedModel, store: str) -> AdaptedModel:
    """The draft, searching this store: one that was made for an earlier bake-off names that one's."""
    if draft.retrieval is None:
        return draft
    return dataclasses.replace(draft, retrieval=dataclasses.replace(draft.retrieval, store=store))


async def searchable(settings: Settings, request: Request, run: Path, chunking: Mapping[str, int] | None) -> None:
    """Until the gateway can search what the store holds. Raises Unplayable where it has not come to it in ten minutes."""
    if request.is_own_store and chunking is not None:
        await asyncio.to_thread(recut, settings, request.store, run, chunking)
    stores = StoreRows(open_database(settings.database_url))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if not await asyncio.to_thread(_is_filling, stores, request.store):
                    return
                await asyncio.sleep(LOOK_S)  # the gateway, another process, fills it
    except TimeoutError:
        raise Unplayable("its documents could not be searched within ten minutes; does a gateway run?") from None


def remove_unused(settings: Settings, folder: Path) -> None:
    """Takes the store away that was made for this bake-off. Done twice, it changes nothing."""
    request = read_request(folder)
    if request.is_own_store:
        try:
            empty(settings, Filled(request.store, request.documents, is_new=True))
        except NotFound:
            return


def _is_filling(stores: StoreRows, store: str) -> bool:
    found = stores.get(TENANT, store)
    return found.generation is None or stores.counts([found.id])[found.id].in_progress > 0
