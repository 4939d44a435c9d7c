"""An encoder at an address: a vLLM pooling server, or any other with OpenAI's /v1/embeddings. It does its own batching.

Knows no queue; remembers what was encoded before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
import numpy as np

from adapters.errors import GraftError, InvalidInput, Unavailable
from gateway.retrieval.cache import Known, VectorCache, digest_of

AT_ONCE = 128
"""Texts to a request."""
IN_FLIGHT = 8
"""Requests of ours that the server works on together; further ones wait here."""


class Served:
    """Must be made inside the running event loop that uses it."""

    def __init__(self, url: str, cache: VectorCache) -> None:
        self.url, self._cache = url, cache
        self.model = ""
        """As the server calls it; known after `find`."""
        self.width, self.window = 0, 0
        self._session = aiohttp.ClientSession(base_url=url, timeout=aiohttp.ClientTimeout(total=None, sock_connect=5))
        self._room = asyncio.Semaphore(IN_FLIGHT)

    @property
    def encoder_id(self) -> str:
        return f"served:{self.model}"

    async def find(self) -> None:
        """Asks which model it is and how wide its vectors are. Raises Unavailable while it does not answer."""
        cards = (await self._ask("GET", "/v1/models", None))["data"]
        pooling = [card for card in cards if "embed" in str(card.get("task", ""))] or cards
        self.model, self.window = str(pooling[0]["id"]), int(pooling[0].get("max_model_len") or 0)
        self.width = len((await self._vectors(["width"], cut=True))[0].vector)

    async def encode(self, texts: Sequence[str], *, bulk: bool, cut: bool) -> list[Known]:
        """One for each text, in order. Raises InvalidInput with the server's reason, Unavailable where it is gone."""
        del bulk  # the server knows no such thing
        digests = [digest_of(self.encoder_id, text) for text in texts]
        known = {digest: found for digest in digests if (found := self._cache.get(digest)) is not None}
        asked = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in known}
        parts = [list(asked.items())[start : start + AT_ONCE] for start in range(0, len(asked), AT_ONCE)]
        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(self._vectors([text for _, text in part], cut=cut)) for part in parts]
        for part, answer in zip(parts, answers, strict=True):
            for (digest, _), found in zip(part, answer.result(), strict=True):
                known[digest] = found
                self._cache.put(digest, found)
        return [known[digest] for digest in digests]

    async def _vectors(self, texts: list[str], *, cut: bool) -> list[Known]:
        body: dict[str, Any] = {"model": self.model, "input": texts, "encoding_format": "float"}
        if cut:
            body["truncate_prompt_tokens"] = -1  # vLLM's own: down to the model's window
        async with self._room:
            reply = await self._ask("POST", "/v1/embeddings", body)
        rows = np.array([row["embedding"] for row in sorted(reply["data"], key=lambda row: row["index"])], dtype=np.float32)
        if rows.ndim != 2 or len(rows) != len(texts):
            raise GraftError(f"the encoder at {self.url} gave {len(rows)} vectors for {len(texts)} texts")
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        shares = _shares(int((reply.get("usage") or {}).get("prompt_tokens") or 0), texts)
        return [Known(row.copy(), share) for row, share in zip(rows, shares, strict=True)]

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        try:
            async with self._session.request(method, path, json=body) as response:
                reply = await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(f"the encoder at {self.url} does not answer ({error or type(error).__name__})") from error
        if response.status != 200:
            said = (reply.get("error") or reply) if isinstance(reply, dict) else {}
            reason = str(said.get("message") or response.reason)[:500]
            if response.status in (400, 413, 422):
                raise InvalidInput(f"the encoder refuses the input: {reason}", param="input")
            raise Unavailable(f"the encoder at {self.url} answers {response.status}: {reason}")
        if not isinstance(reply, dict):
            raise GraftError(f"the encoder at {self.url} does not answer as /v1/embeddings does")
        return reply

    async def close(self) -> None:
        await self._session.close()


def _shares(total: int, texts: list[str]) -> list[int]:
    """The request's tokens by text, whose sum they are: a server counts them all together, so by length in bytes."""
    sizes = np.cumsum([len(text.encode()) + 1 for text in texts])
    marks = np.concatenate([[0], np.rint(total * sizes / sizes[-1])]).astype(int)
    return [int(share) for share in np.diff(marks)]
