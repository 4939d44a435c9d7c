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
from gateway.retrieval.cache import VectorCache, digest_of
from gateway.retrieval.contract import Known
from gateway.retrieval.wire import About

AT_ONCE = 128
"""Texts to a request."""
IN_FLIGHT = 8
"""Requests of ours that the server works on together; further ones wait here."""


class Served:
    """Must be made inside the running event loop that uses it."""

    def __init__(self, name: str, url: str, cache: VectorCache) -> None:
        self.name, self.url, self._cache = name, url, cache
        self._about: About | None = None
        self._model = ""
        """As the server calls it; known once it has been found."""
        self._finding = asyncio.Lock()
        self._session = aiohttp.ClientSession(base_url=url, timeout=aiohttp.ClientTimeout(total=None, sock_connect=5))
        self._room = asyncio.Semaphore(IN_FLIGHT)

    async def about(self) -> About:
        """Asked once: the first of the server's models that makes vectors, and how wide they are."""
        async with self._finding:
            if self._about is None:
                self._about = await self._find()
        return self._about

    async def _find(self) -> About:
        refused: list[str] = []
        for card in (await self._ask("GET", "/v1/models", None))["data"]:
            self._model = str(card["id"])
            try:
                (known,) = await self._vectors(["width"], cut=True)
            except InvalidInput as error:
                refused.append(error.message)
                continue
            return About(self.name, f"served:{self._model}", len(known.vector), int(card.get("max_model_len") or 0))
        raise InvalidInput(f"no model at {self.url} makes vectors: {'; '.join(refused[:3])}", param="retrieval.encoder")

    async def encode(self, texts: Sequence[str], *, bulk: bool, cut: bool) -> list[Known]:
        del bulk  # the server knows no such thing
        about = await self.about()
        # what was cut is kept apart: only the server can tell whether a text is too long for who wants it whole
        digests = [digest_of(f"{about.encoder} cut" if cut else about.encoder, text) for text in texts]
        known = {digest: found for digest in digests if (found := self._cache.get(digest)) is not None}
        asked = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in known}
        parts = [list(asked.items())[start : start + AT_ONCE] for start in range(0, len(asked), AT_ONCE)]
        answers = [asyncio.create_task(self._vectors([text for _, text in part], cut=cut)) for part in parts]
        try:
            vectors = await asyncio.gather(*answers)
        finally:
            for answer in answers:  # the others' too, once one has failed
                answer.cancel()
        for part, encoded in zip(parts, vectors, strict=True):
            for (digest, _), found in zip(part, encoded, strict=True):
                known[digest] = found
                self._cache.put(digest, found)
        return [known[digest] for digest in digests]

    async def _vectors(self, texts: list[str], *, cut: bool) -> list[Known]:
        body: dict[str, Any] = {"model": self._model, "input": texts, "encoding_format": "float"}
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
            if response.status in (400, 404, 413, 422):
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
