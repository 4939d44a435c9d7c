"""GET /health/live, /health/ready and /metrics, for whoever watches over the process."""

from __future__ import annotations

from typing import Any

from litestar import MediaType, Response, get

from gateway.engines.pool import Pool
from gateway.telemetry import CONTENT_TYPE, Telemetry


@get("/health/live", opt={"open": True}, summary="The process answers")
async def live() -> dict[str, str]:
    return {"status": "live"}


@get("/health/ready", opt={"open": True}, summary="Every base has an engine that answers")
async def ready(pool: Pool) -> Response[dict[str, Any]]:
    """200 or 503. No more than states: this route is open to all who can reach the port."""
    engines = {base: [replica["state"] for replica in replicas] for base, replicas in pool.engine_state().items()}
    body = {"status": "ready" if pool.is_ready else "not ready", "engines": engines}
    return Response(body, status_code=200 if pool.is_ready else 503)


@get("/metrics", media_type=MediaType.TEXT, summary="Prometheus metrics")
async def metrics(telemetry: Telemetry) -> Response[bytes]:
    return Response(telemetry.text(), media_type=CONTENT_TYPE)
