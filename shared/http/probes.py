"""`/livez`, `/readyz` and `/metrics` of a service that has an HTTP server anyway."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import PlainTextResponse, Response


def probes(ready: Callable[[], bool], degraded: Callable[[], bool] = lambda: False) -> APIRouter:
    """Routes for an orchestrator: the process turns; it can work, `degraded` when not as it should; and how it does."""
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def livez() -> Response:
        return PlainTextResponse("ok\n")

    @router.get("/readyz")
    async def readyz() -> Response:
        if not ready():
            return PlainTextResponse("starting\n", 503)
        return PlainTextResponse("degraded\n" if degraded() else "ready\n")

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router
