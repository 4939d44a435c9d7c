"""Asks a name the frozen rows, over HTTP as any caller would, a few at a time. Knows no arm and no registry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from adapters.conversation import Example, wire
from adapters.errors import Unavailable
from advisor.bakeoff.contract import Unplayable

CALLERS = 8
AGAIN = (429, 503)
"""Statuses that say: later."""
PATIENCE_S = {0: 60.0, 404: 15.0} | dict.fromkeys(AGAIN, 600.0)
"""By status: for a gateway that is being started again, one that has not heard of the name yet, an engine that starts or comes
back."""
LONGEST_ANSWER_S = 300.0


@dataclass(frozen=True, slots=True)
class Said:
    text: str
    prompt_tokens: int
    error: str = ""
    """Why there is no answer; the text is empty then, and counts as wrong."""


@dataclass(frozen=True, slots=True)
class Asker:
    address: str
    """Of the gateway, as http://host:port."""
    key: str

    async def ask(self, name: str, rows: Sequence[Example], answer_tokens: int) -> list[Said]:
        """In the rows' order, greedily. Raises Unplayable where no row got an answer, Unavailable where no gateway answers."""
        turn = asyncio.Semaphore(CALLERS)
        headers = {"authorization": f"Bearer {self.key or 'local'}"}
        limit = aiohttp.ClientTimeout(total=LONGEST_ANSWER_S)
        async with aiohttp.ClientSession(headers=headers, timeout=limit) as session:
            asking = [asyncio.ensure_future(self._one(session, turn, name, row, answer_tokens)) for row in rows]
            try:
                said = await asyncio.gather(*asking)
            finally:
                for one in asking:
                    one.cancel()
                await asyncio.gather(*asking, return_exceptions=True)
        if all(one.error for one in said):
            raise Unplayable(f"it gave no answer: {said[0].error}")
        return said

    async def _one(self, session: Any, turn: asyncio.Semaphore, name: str, row: Example, answer_tokens: int) -> Said:
        body: dict[str, Any] = {"model": name, "messages": wire(row.prompt), "temperature": 0, "max_tokens": answer_tokens}
        if row.tools:
            body["tools"] = list(row.tools)
        async with turn:
            began, wait_s = time.monotonic(), 0.2
            while True:
                status, reply, after_s = await self._post(session, body)
                waited = time.monotonic() - began
                if status == 200:
                    return _said(reply)
                if waited > PATIENCE_S.get(status, 0.0):
                    break
                wait_s = min(5.0, 2 * wait_s)
                await asyncio.sleep(max(wait_s, min(after_s, 5.0)))
        if status == 0:
            raise Unavailable(f"nothing answers at {self.address}; start it in another terminal: graft serve")
        return Said("", 0, str((reply.get("error") or {}).get("message", f"status {status}")))

    async def _post(self, session: Any, body: dict[str, Any]) -> tuple[int, dict[str, Any], float]:
        """(status, the reply, seconds after which to ask again); status 0: nobody was there."""
        try:
            async with session.post(f"{self.address}/v1/chat/completions", json=body) as response:
                after = response.headers.get("retry-after", "0")
                reply = await response.json(content_type=None)
                return response.status, reply if isinstance(reply, dict) else {}, float(after) if after.isdigit() else 0.0
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return 0, {}, 0.0


def _said(reply: dict[str, Any]) -> Said:
    message = reply["choices"][0]["message"]
    return Said(message.get("content") or "", int((reply.get("usage") or {}).get("prompt_tokens") or 0))
