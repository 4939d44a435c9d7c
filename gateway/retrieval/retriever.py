"""The gateway's side of retrieval: keeps the encoder child, started on first use, and asks it.

A request that the child dies of is asked once more. Knows no store, no prompt and no route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from adapters.errors import EngineLost, Unavailable
from adapters.prompts import Selection, Shot
from adapters.retrieval.found import Found
from adapters.retrieval.fusion import LEXICAL_WEIGHT
from gateway.engines.process import EngineProcess
from gateway.engines.sockets import socket_path
from gateway.engines.vitals import Vitals
from gateway.retrieval import child
from gateway.retrieval.client import ChildClient, Encoded
from gateway.retrieval.encoders import name_of
from gateway.retrieval.wire import About, ChooseReply, ChooseRequest, EncodeRequest, SearchReply, SearchRequest
from gateway.settings import Settings

START_WAIT_S = 60.0
"""What a request waits for a child that is starting: MiniLM takes 6 s, imports included, and longer on a busy machine."""

T = TypeVar("T")


class Retriever:
    def __init__(self, settings: Settings, *, on_restart: Callable[[], None] = lambda: None) -> None:
        self.model_name = name_of(settings.retrieval_encoder)
        """What callers put into `model` of /v1/embeddings."""
        self.socket = socket_path(settings, child.NAME)
        self._settings, self._on_restart = settings, on_restart
        self._client: ChildClient | None = None
        self._process: EngineProcess | None = None
        self._starting = asyncio.Lock()
        self._busy = 0
        self._about: About | None = None

    async def start(self) -> None:
        """Cheap: the child itself is started by who first needs it."""
        self._client = ChildClient(self.socket)

    async def stop(self) -> None:
        async with self._starting:
            client, self._client = self._client, None
            if self._process is not None:
                await self._process.stop()
                self._process = None
        if client is not None:
            await client.close()

    @property
    def pid(self) -> int | None:
        """Of the child, while it runs."""
        return self._process.pid if self._process else None

    async def ready(self) -> None:
        """Returns once the child answers. Raises Unavailable while it does not, InvalidInput or NotFound for wrong settings."""
        await (await self._child()).ready(START_WAIT_S)

    async def about(self) -> About:
        """The encoder's identity, width and window, which stay while the gateway runs."""
        if self._about is None:
            self._about = await self._asked(lambda client: client.about())
        return self._about

    @property
    def window(self) -> int | None:
        """Most tokens of a text; None until somebody has needed the encoder, or where that is not known."""
        return (self._about.window or None) if self._about is not None else None

    async def width(self) -> int:
        return (await self.about()).width

    async def encode(self, texts: Sequence[str | list[int]], *, bulk: bool = False, cut: bool = True) -> Encoded:
        """Vectors of texts, or of token ids. `bulk` ones let single questions go first.

        Raises InvalidInput for a text beyond the encoder's window, unless it may be `cut` to it.
        """
        request = EncodeRequest(list(texts), bulk, cut)
        return await self._asked(lambda client: client.encode(request))

    async def search(
        self, generation: Path, queries: Sequence[str], *, limit: int, lexical_weight: float = LEXICAL_WEIGHT,
        rerank: bool = False, allowed: Collection[str] | None = None, without: Collection[str] = (),
    ) -> list[list[Found]]:  # fmt: skip
        """For each query what was found, best first.

        Raises NotFound for a generation that is gone, Conflict for one that another encoder made, InvalidInput, Unavailable.
        """
        files = None if allowed is None else list(allowed)
        request = SearchRequest(str(generation), list(queries), limit, lexical_weight, rerank, files, list(without))
        return (await self._asked(lambda client: client.read("/search", request, SearchReply))).results

    async def choose(self, pool: Path, question: str, selection: Selection) -> list[Shot]:
        """The shots for the question, in the order in which to show them. Raises as `search` does."""
        request = ChooseRequest(str(pool), question, selection)
        return (await self._asked(lambda client: client.read("/choose", request, ChooseReply))).shots

    async def _asked(self, question: Callable[[ChildClient], Awaitable[T]]) -> T:
        process = await self._child()
        self._busy += 1
        try:
            await process.ready(START_WAIT_S)
            try:
                return await question(self._open_client())
            except EngineLost:
                await process.suspect()
                await process.ready(START_WAIT_S)
                return await question(self._open_client())
        finally:
            self._busy -= 1

    def _open_client(self) -> ChildClient:
        if self._client is None:
            raise Unavailable("the gateway is starting or stopping; try again in a moment")
        return self._client

    async def _child(self) -> EngineProcess:
        async with self._starting:
            if self._process is None:
                client, command = self._open_client(), partial(child.command, self._settings, self.socket)
                await asyncio.to_thread(command)  # wrong settings are told at once, and not tried again and again
                process = EngineProcess(
                    child.NAME,
                    command,
                    client,
                    socket=self.socket,
                    log_file=self._settings.logs / f"{child.NAME}.log",
                    start_timeout_s=self._settings.engine_start_timeout_s,
                    vitals=Vitals(client, hang_timeout_s=self._settings.engine_hang_timeout_s, is_busy=lambda: self._busy > 0),
                    on_restart=self._on_restart,
                )
                await process.start()
                self._process = process
            return self._process
