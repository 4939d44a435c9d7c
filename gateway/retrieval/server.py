"""The encoder child's HTTP: its routes, and errors as JSON. What they do is `batching.py`'s and `searching.py`'s."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from aiohttp import web

from adapters.errors import Conflict, GraftError, InvalidInput, NotFound, Unavailable
from gateway.retrieval.batching import Batching
from gateway.retrieval.cache import VectorCache
from gateway.retrieval.contract import Encoding
from gateway.retrieval.searching import Searching
from gateway.retrieval.served import Served
from gateway.retrieval.wire import ENCODER, ROWS, TOKENS, WIDTH, About, ChooseRequest, EncodeRequest, SearchRequest, told

log = logging.getLogger(__name__)

MOST_BODY_BYTES = 2**28
STATUSES: dict[type[GraftError], int] = {InvalidInput: 400, NotFound: 404, Conflict: 409, Unavailable: 503}
"""For whoever looks with curl: the error itself is in the body."""

FLAGS = web.AppKey("flags", argparse.Namespace)
ENCODING = web.AppKey("encoding", Encoding)
SEARCHING = web.AppKey("searching", Searching)
PASSES: web.AppKey[Any] = web.AppKey("passes")
"""Where the encoder is in this process: it reads token ids too."""


async def encode(request: web.Request) -> web.Response:
    asked = _read(await request.read(), EncodeRequest)
    texts = [text if isinstance(text, str) else _decoded(request.app, text) for text in asked.texts]
    found = await request.app[ENCODING].encode(texts, bulk=asked.bulk, cut=asked.cut)
    about = await request.app[ENCODING].about()
    body = np.stack([known.vector for known in found]).astype("<f4", copy=False).tobytes() if found else b""
    headers = {ROWS: str(len(found)), WIDTH: str(about.width), TOKENS: str(sum(known.tokens for known in found))}
    return web.Response(body=body, headers=headers | {ENCODER: about.encoder})


async def search(request: web.Request) -> web.Response:
    asked = _read(await request.read(), SearchRequest)
    return _json({"results": await request.app[SEARCHING].search(asked)})


async def choose(request: web.Request) -> web.Response:
    asked = _read(await request.read(), ChooseRequest)
    return _json({"shots": await request.app[SEARCHING].choose(asked)})


async def health(_: web.Request) -> web.Response:
    """That the process answers; an encoder elsewhere may be out of reach, and whoever asks it is told."""
    return web.Response()


async def about(request: web.Request) -> web.Response:
    return _json(await request.app[ENCODING].about())


def _json(content: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")


def _decoded(app: web.Application, ids: list[int]) -> str:
    if PASSES not in app:
        raise InvalidInput("this encoder reads text, not token ids; send the text itself", param="input")
    return str(app[PASSES].text(ids))


def _read(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"this is no {kind.__name__}: {error}") from error


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except GraftError as error:
        status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)
        return web.Response(body=told(error), status=status, content_type="application/json")
    return response


async def _running(app: web.Application) -> AsyncIterator[None]:
    """The encoder is loaded before the socket is there, so that who answers can encode."""
    flags, cache = app[FLAGS], VectorCache(app[FLAGS].cache_mib)
    if flags.encoder.startswith("http"):
        served = Served(flags.name, flags.encoder, cache)
        app[ENCODING], app[SEARCHING] = served, Searching(served, flags.reranker)
        yield
        await served.close()
        return
    passes, encoder_id = await asyncio.to_thread(_load, Path(flags.encoder))
    batching = Batching(passes, About(flags.name, encoder_id, passes.width, passes.window), cache)
    app[ENCODING], app[SEARCHING], app[PASSES] = batching, Searching(batching, flags.reranker), passes
    work = asyncio.create_task(batching.work(), name="batching")
    work.add_done_callback(_end_if_broken)
    yield
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


def _end_if_broken(work: asyncio.Task[None]) -> None:
    """A child that would accept texts and encode none is worth less than none: the gateway starts another."""
    if not work.cancelled() and work.exception() is not None:
        log.error("the batching ended by itself, and the process with it", exc_info=work.exception())
        os.kill(os.getpid(), signal.SIGTERM)


def _load(folder: Path) -> tuple[Any, str]:
    from adapters.retrieval.encoder import Encoder, identity
    from adapters.retrieval.passes import Passes

    return Passes(Encoder(folder), fast=True), identity(folder)


def build(flags: argparse.Namespace) -> web.Application:
    app = web.Application(middlewares=[_errors], client_max_size=MOST_BODY_BYTES)
    app[FLAGS] = flags
    app.cleanup_ctx.append(_running)
    app.add_routes(
        [
            web.get("/health", health),
            web.get("/about", about),
            web.post("/encode", encode),
            web.post("/search", search),
            web.post("/choose", choose),
        ]
    )
    return app


def serve(flags: argparse.Namespace) -> None:
    """Runs until SIGTERM."""
    web.run_app(
        build(flags), path=str(flags.uds), handler_cancellation=True, keepalive_timeout=75, shutdown_timeout=1, print=None
    )
