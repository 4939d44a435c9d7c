"""Makes this gateway's engines leave the accelerator while a job needs it, and come back with their adapters afterwards.

What is wanted lies in the database, so nothing is owed by a gateway or a runner that was killed. Knows no run.
"""

from __future__ import annotations

import asyncio
import logging

from gateway.db.lending import Lending
from gateway.engines.pool import Pool

LOOK_S = 0.25

log = logging.getLogger(__name__)


class Lender:
    def __init__(self, lending: Lending, pool: Pool, gateway: str) -> None:
        self._lending, self._pool, self._gateway = lending, pool, gateway
        self._lent_to: str | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._look()
            except OSError as error:  # a database on a full or lost disk
                log.error("the queue could not be read: %s", error)
            await asyncio.sleep(LOOK_S)  # another process writes the wish: there is nothing to wait on

    async def _look(self) -> None:
        wanted = await asyncio.to_thread(self._lending.wanted)
        if wanted == self._lent_to:
            return
        if wanted is not None:
            await self._pool.step_aside()
        if not await asyncio.to_thread(self._lending.say, self._gateway, wanted):
            return
        if wanted is None:  # said first: a job that comes in between must not find the engines gone that are coming
            self._pool.come_back()
        log.info("the accelerator is %s", "the engines' again" if wanted is None else f"left to {wanted}")
        self._lent_to = wanted
