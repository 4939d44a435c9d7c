"""Speaks to the encoder child over its socket: for the gateway, in its event loop, and for workers without one.

Knows the child's replies; knows no process.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray

from adapters.errors import EngineLost, Unavailable
from gateway.retrieval.wire import ENCODER, TOKENS, WIDTH, About, EncodeRequest, raised

HEALTH_TIMEOUT_S = 5.0
KEEPALIVE_S = 30.0
"""Below the child's 75 s, so that no request is sent on a connection that it is closing."""
LOOK_S = 0.25

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Encoded:
    vectors: NDArray[np.float32]
    """(texts, width), rows of length 1."""
    tokens: int
    """Of all texts, as the encoder counts."""
    encoder: str
    """Its identity: vectors of another cannot be compared with these."""

    @property
    def width(self) -> int:
        return int(self.vectors.shape[1])


def _encoded(body: bytes, headers: Any) -> Encoded:
    vectors = np.frombuffer(body, dtype="<f4").reshape(-1, int(headers[WIDTH]))
    return Encoded(vectors, int(headers[TOKENS]), str(headers[ENCODER]))


class ChildClient:
    """Must be made and closed inside the running event loop that uses it."""

    def __init__(self, address: Path) -> None:
        self._session = aiohttp.ClientSession(
            base_url="http://encoder",
            connector=aiohttp.UnixConnector(str(address), limit=0, keepalive_timeout=KEEPALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        await self._session.close()

    async def health(self) -> int | None:
        """The status of GET /health; None if nothing answers."""
        try:
            timeout = aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_S)
            async with self._session.get("/health", timeout=timeout) as response:
                return response.status
        except (TimeoutError, aiohttp.ClientError, OSError):
            return None

    async def about(self) -> About:
        body, _ = await self._answered(self._session.get("/about"))
        return msgspec.json.decode(body, type=About)

    async def pulse(self) -> bool:
        """Waits until a text that nobody can have encoded before has been; False if the child answers anything else."""
        try:
            await self.encode(EncodeRequest([f"pulse {time.monotonic_ns()}"]))
        except Unavailable:
            return False
        return True

    async def encode(self, request: EncodeRequest) -> Encoded:
        body, headers = await self.ask("/encode", request)
        return _encoded(body, headers)

    async def read(self, path: str, request: msgspec.Struct, kind: type[T]) -> T:
        body, _ = await self.ask(path, request)
        return msgspec.json.decode(body, type=kind)

    async def ask(self, path: str, request: msgspec.Struct) -> tuple[bytes, Any]:
        """The answer's body and headers. Raises what the child raised, EngineLost if it went away."""
        return await self._answered(self._session.post(path, data=msgspec.json.encode(request)))

    async def _answered(self, question: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> tuple[bytes, Any]:
        try:
            async with question as response:
                body = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise self._gone() from error
        if response.status != 200:
            raise raised(body)
        return body, response.headers

    def _gone(self) -> EngineLost:
        return EngineLost("the encoder went away before it answered; try again in a moment")


class _Connection(http.client.HTTPConnection):
    def __init__(self, address: Path) -> None:
        super().__init__("encoder")
        self._address = str(address)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._address)


def encode(address: Path, texts: Sequence[str], *, bulk: bool = True, patience_s: float = 120.0) -> Encoded:
    """For a process without an event loop. Texts beyond the encoder's window are cut to it.

    Where the child is starting or has died, this waits until it is there again, and asks again; raises EngineLost once that
    has taken `patience_s`, else what the child raised. The gateway keeps the child running; nobody else starts it.
    """
    body = msgspec.json.encode(EncodeRequest(list(texts), bulk=bulk))
    deadline = time.monotonic() + patience_s
    while True:
        connection = _Connection(address)
        try:
            connection.request("POST", "/encode", body, {"content-type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            break
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > deadline:
                raise EngineLost(f"the encoder does not answer on {address.name}; is `graft serve` running?") from error
            time.sleep(LOOK_S)  # it is the child of another process, which tells nobody here when it is back
        finally:
            connection.close()
    if response.status != 200:
        raise raised(answer)
    return _encoded(answer, response.headers)
