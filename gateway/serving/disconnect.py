"""Work that nobody waits for any more is ended. Knows the ASGI message for that, and nothing of the work."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from litestar.types import Receive


async def while_connected(work: Coroutine[Any, Any, None], receive: Receive) -> bool:
    """Does the work, but cancels it when the caller leaves; tells whether they stayed. The request's body is read by now.

    A server cancels a handler only when it tries to send, so without this an engine would go on with a prefill, or
    with a whole unstreamed answer, for a caller who is gone.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()  # raises what the work raised
        return True
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
