"""Speaks HTTP to one engine, over its Unix socket or to an address: open an answer, load an adapter, ask how it is.

Knows vLLM's replies and turns them into errors of ours; knows no process and no policy.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from adapters.errors import EngineLost, GraftError, Unservable

HEALTH_TIMEOUT_S = 5.0
KEEPALIVE_S = 30.0
"""Below vLLM's 75 s, so that no request is sent on a connection that the engine is closing."""

_PATH = re.compile(r"(?<![\w/:.])/(?!v1/)(?:[\w.@+-]+/)+[\w.@+-]*")
"""Of a file; what begins with /v1/ is a route, which callers know."""


class _Error(msgspec.Struct):
    message: str = ""
    param: str | None = None


class EngineError(msgspec.Struct):
    """The body of an engine's refusal."""

    error: _Error


class EngineClient:
    """Must be made and closed inside the running event loop that uses it."""

    def __init__(self, base: str, address: Path | str) -> None:
        """`address`: the Unix socket of a child, or `http://host:port`."""
        self._base = base
        patience: dict[str, Any] = {"limit": 0, "keepalive_timeout": KEEPALIVE_S}
        is_child = isinstance(address, Path)
        connector = aiohttp.UnixConnector(str(address), **patience) if is_child else aiohttp.TCPConnector(**patience)
        # no total timeout: an answer may take as long as its caller has patience; no limit: one connection an answer
        self._session = aiohttp.ClientSession(
            base_url="http://engine" if is_child else str(address),
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def close(self) -> None:
        await self._session.close()

    @asynccontextmanager
    async def open(self, path: str, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """The engine's response, its body unread. Leaving early closes the connection, which ends the engine's work.

        Raises EngineLost if there is no engine at the other end.
        """
        try:
            response = await self._session.post(path, data=body, headers={"content-type": "application/json"})
        except (aiohttp.ClientConnectionError, OSError) as error:
            raise self._gone() from error
        try:
            yield response
        finally:
            response.close()  # not release(): that would read the rest of an answer nobody waits for

    async def load(self, engine_name: str, folder: Path) -> None:
        """Loads the adapter; one that is there already is fine, because a name always means the same weights.

        Raises Unservable with the engine's reason, or EngineLost if the engine went away.
        """
        status, text = await self._post("/v1/load_lora_adapter", {"lora_name": engine_name, "lora_path": str(folder)})
        if status != 200 and "has already been loaded" not in text:
            raise Unservable(f"the engine refuses the adapter '{engine_name}': {_reason(text)}", param="model")

    async def unload(self, engine_name: str) -> None:
        """Makes the engine forget the name; one it does not know is fine. Running answers are not touched."""
        status, text = await self._post("/v1/unload_lora_adapter", {"lora_name": engine_name})
        if status not in (200, 404):
            raise GraftError(f"the engine does not unload '{engine_name}': {_reason(text)}")

    async def listed(self) -> set[str]:
        """Every name the engine answers to, the base's own included."""
        try:
            async with self._session.get("/v1/models") as response:
                return {card["id"] for card in msgspec.json.decode(await response.read())["data"]}
        except (aiohttp.ClientError, OSError) as error:
            raise self._gone() from error

    async def health(self) -> int | None:
        """The status of GET /health; None if nothing answers."""
        try:
            timeout = aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_S)
            async with self._session.get("/health", timeout=timeout) as response:
                return response.status
        except (TimeoutError, aiohttp.ClientError, OSError):
            return None

    async def ask(self, body: dict[str, Any], path: str = "/v1/completions") -> dict[str, Any]:
        """The whole answer to a POST. Raises GraftError with the engine's reason, EngineLost if it went away."""
        status, text = await self._post(path, body)
        if status != 200:
            raise GraftError(f"the engine of '{self._base}' refused a question of ours: {_reason(text)}")
        reply: dict[str, Any] = msgspec.json.decode(text)
        return reply

    async def pulse(self) -> bool:
        """Waits until the engine has made one token for us; False if it answers anything else, or goes away."""
        try:
            status, _ = await self._post("/v1/completions", {"model": self._base, "prompt": "a", "max_tokens": 1})
        except EngineLost:
            return False
        return status == 200

    async def _post(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        try:
            async with self._session.post(path, json=body) as response:
                return response.status, await response.text()
        except (aiohttp.ClientError, OSError) as error:
            raise self._gone() from error

    def _gone(self) -> EngineLost:
        return EngineLost(f"the engine of '{self._base}' went away before it answered; try again in a moment")


def read_error(body: bytes) -> tuple[str, str | None]:
    """(message, param) of an engine's error body, without the machine's paths. Empty if it is no such body."""
    try:
        error = msgspec.json.decode(body, type=EngineError).error
    except msgspec.DecodeError:
        return "", None
    param = None if error.param is None else error.param.removeprefix("body.")
    return without_paths(error.message), param


def without_paths(text: str) -> str:
    return _PATH.sub("<path>", text)


def _reason(text: str) -> str:
    message, _ = read_error(text.encode())
    worker = re.search(r"Worker failed with error '(.*?)',? please", message, re.DOTALL)
    reason = worker[1] if worker else message or without_paths(text)[:300] or "it gave no reason"
    if "greater than max_lora_rank" in reason:
        reason += (
            " Start `graft serve` anew: its plan then makes room for it. Or raise engine.max_lora_rank where it is set,"
            " or tune with a lower rank."
        )
    return reason
