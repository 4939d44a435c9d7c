"""GET /v1/graft/engines: what every engine is doing, what waits for it, and what its memory was planned for."""

from __future__ import annotations

from typing import Any

from litestar import get

from gateway.engines.pool import Pool


@get("/v1/graft/engines", summary="Engines, their queues and capacity plans")
async def engines(pool: Pool) -> dict[str, Any]:
    plans = pool.plans()
    return {
        "bases": {
            name: {"replicas": replicas, "plan": plans[name].to_json() if name in plans else None}
            for name, replicas in pool.engine_state().items()
        }
    }


handlers = (engines,)
