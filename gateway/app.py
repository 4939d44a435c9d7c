"""Where the parts meet: settings, registry, names and engines become one ASGI application.

`create_app` takes every part from outside; `from_environment` makes the real ones, for
`granian --interface asgi --factory gateway.app:from_environment`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TypeVar

from litestar import Litestar
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import BeforeMessageSendHookHandler, ControllerRouterHandler, Message, Scope

from adapters.prompting.library import PromptLibrary
from adapters.registry import Registry
from gateway import children
from gateway import settings as settings_table
from gateway.advising import Advising
from gateway.api import (
    advice,
    bakeoffs,
    chat,
    embeddings,
    engines,
    files,
    fine_tuning,
    health,
    jobs,
    models,
    prompts,
    responses,
    vector_stores,
)
from gateway.api.errors import respond
from gateway.auth import require_key
from gateway.bakeoff.service import Bakeoffs
from gateway.db.database import open_database
from gateway.db.ingest import IngestRows
from gateway.db.lending import Lending
from gateway.db.names import Names
from gateway.db.retirement import Retirement
from gateway.db.snapshot import Snapshot
from gateway.db.standing import standing
from gateway.db.stores import StoreRows
from gateway.engines.pool import Pool
from gateway.files import FileStore
from gateway.fine_tuning import FineTuning
from gateway.jobs.following import Following
from gateway.jobs.store import JobStore
from gateway.prompting import Prompting
from gateway.retrieval.retriever import Retriever
from gateway.serving.advisor import Advisor
from gateway.serving.answering import MODEL_IN_SCOPE, Serving
from gateway.serving.gather import Gatherer
from gateway.serving.keeper import Keeper
from gateway.serving.lender import Lender
from gateway.serving.resolve import Resolver
from gateway.settings import Settings
from gateway.stores.ingest import Ingest
from gateway.stores.library import Stores
from gateway.stores.measures import automatic, tokenizer_folder
from gateway.stores.places import Places
from gateway.stores.searching import Searching
from gateway.stores.workers import Workers, command
from gateway.telemetry import UNKNOWN, Telemetry

ROUTES: tuple[ControllerRouterHandler, ...] = (
    chat.chat_completions,
    chat.completions,
    responses.create_response,
    *embeddings.handlers,
    *models.handlers,
    *files.handlers,
    *fine_tuning.handlers,
    *vector_stores.handlers,
    *prompts.handlers,
    *jobs.handlers,
    *advice.handlers,
    *bakeoffs.handlers,
    *engines.handlers,
    health.live,
    health.ready,
    health.metrics,
)
"""Everything that can be asked. What is not here is a 404: an engine's own routes are never reachable through Graft."""

SWEEP_S = 60.0
LEFTOVER_S = 3600.0
"""Longer than anything takes to be stored."""

_REQUEST_ID = re.compile(rb"[\w.:-]{1,128}")

T = TypeVar("T")


def create_app(
    settings: Settings, *, registry: Registry, snapshot: Snapshot, keeper: Keeper, pool: Pool, telemetry: Telemetry
) -> Litestar:
    """The gateway. Its engines and its keeper start with its event loop and stop with it."""
    resolver = Resolver(settings, snapshot)
    uploaded, queue = FileStore(settings.files), JobStore(snapshot.names.database)
    retriever = Retriever(settings, on_restart=telemetry.restarts.labels("encoder").inc)
    lender = Lender(Lending(snapshot.names.database), pool, keeper.gateway)
    stores, ingest = _stores(settings, snapshot.names, uploaded, retriever)
    prompting = Prompting(PromptLibrary(settings.prompts), uploaded, retriever)
    gatherer = Gatherer(registry, retriever, stores, prompting, telemetry)
    serving = Serving(resolver, gatherer, pool, telemetry, settings.server_idle_timeout_s)
    parts = {
        "settings": settings, "registry": registry, "snapshot": snapshot, "pool": pool, "telemetry": telemetry,
        "resolver": resolver, "serving": serving, "files": uploaded, "advising": Advising(settings, uploaded),
        "fine_tuning": FineTuning(settings, snapshot.names, queue, uploaded), "following": Following(queue),
        "retriever": retriever, "stores": stores, "prompting": prompting, "bakeoffs": Bakeoffs(settings, queue, uploaded),
        "advisor": Advisor(settings, resolver, pool, telemetry),
    }  # fmt: skip
    return Litestar(
        route_handlers=ROUTES,
        dependencies={name: _always(part) for name, part in parts.items()},
        guards=[require_key(settings)],
        exception_handlers={Exception: respond},
        lifespan=[_running(pool, keeper, lender, uploaded, prompting.library, retriever, ingest)],
        before_send=[_on_start(telemetry)],
        request_max_body_size=settings.server_max_body_mib * 2**20,
        openapi_config=OpenAPIConfig(
            title="Graft",
            version="1",  # of the HTTP API, as in /v1
            path="/openapi",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],  # the pages among the plugins load from CDNs
        ),
        logging_config=None,
    )


def from_environment() -> Litestar:
    """The gateway as the environment and the settings file describe it."""
    children.die_with_parent()  # granian's worker outlives a killed granian, and would keep port and engine
    settings = settings_table.load()
    registry, telemetry = Registry(settings.models), Telemetry()
    names = Names(open_database(settings.database_url), registry)
    snapshot = Snapshot(names)

    pool = Pool(settings, registry, telemetry, standing=partial(standing, names))
    keeper = Keeper(snapshot, names, pool, Retirement(names.database, registry))
    return create_app(settings, registry=registry, snapshot=snapshot, keeper=keeper, pool=pool, telemetry=telemetry)


def _stores(settings: Settings, names: Names, files: FileStore, retriever: Retriever) -> tuple[Stores, Ingest]:
    rows, places = StoreRows(names.database), Places(settings.stores)
    workers = Workers(
        lambda: command(retriever.socket, tokenizer_folder(settings.retrieval_encoder)), log_file=settings.logs / "ingest.log"
    )
    ingest = Ingest(IngestRows(names.database), files, places, retriever, workers, exact_up_to=settings.retrieval_exact_up_to)
    searching = Searching(rows, places, retriever, on_other_encoder=ingest.reencode)
    stores = Stores(
        rows, files, places, searching, auto=automatic(settings.retrieval_encoder),
        has_reranker=bool(settings.retrieval_reranker), on_change=ingest.wake,
    )  # fmt: skip
    return stores, ingest


def _always(part: T) -> Provide:
    def provide() -> T:
        return part

    return Provide(provide, use_cache=True, sync_to_thread=False)


def _running(
    pool: Pool, keeper: Keeper, lender: Lender, files: FileStore, library: PromptLibrary, retriever: Retriever,
    ingest: Ingest,
) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:  # fmt: skip
    @asynccontextmanager
    async def running(_: Litestar) -> AsyncIterator[None]:
        await pool.start()
        await retriever.start()
        keeping = [
            asyncio.create_task(keeper.run(), name="keeper"),
            asyncio.create_task(lender.run(), name="lender"),
            asyncio.create_task(_sweep(files, library), name="sweeper"),
            asyncio.create_task(ingest.run(), name="ingest"),
        ]
        try:
            yield
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
            await retriever.stop()
            await pool.stop()

    return running


async def _sweep(files: FileStore, library: PromptLibrary) -> None:
    """Removes expired files, out of reach from the second they expire, and what killed processes left; until cancelled."""
    while True:
        await asyncio.to_thread(files.sweep)
        await asyncio.to_thread(library.sweep, LEFTOVER_S)
        await asyncio.sleep(SWEEP_S)


def _on_start(telemetry: Telemetry) -> BeforeMessageSendHookHandler:
    """Gives every response its request id and counts it. All but the first message of a response pass at once."""

    async def hook(message: Message, scope: Scope) -> None:
        if message["type"] != "http.response.start":
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16).encode()
        message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
        route = str(scope.get("path_template") or UNKNOWN)
        model = str(scope["state"].get(MODEL_IN_SCOPE, UNKNOWN))
        telemetry.requests.labels(route, model, str(message["status"])).inc()

    return hook
