"""The endpoints for operation: health, metrics and reload."""

import os
import signal

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from mien.service.answers.info import Health, Reloaded
from mien.service.inference.runtime import Runtime
from mien.service.routes import problems


def health_router(runtime: Runtime) -> APIRouter:
    """The router of /health, /metrics and /admin."""
    router = APIRouter()

    @router.get("/health/live", tags=["health"], summary="Is the process alive?")
    async def live() -> Health:
        """Answers while the event loop runs."""
        return Health(status="live")

    @router.get(
        "/health/ready", tags=["health"], summary="Does it answer requests?", responses=problems.openapi_responses(503)
    )
    async def ready() -> Health:
        """Answers 200 while the bundle is loaded and warm and the network works, else 503."""
        await runtime.check_ready()
        return Health(status="ready")

    @router.get(
        "/metrics",
        tags=["operation"],
        summary="The metrics, for Prometheus",
        response_class=Response,
        responses={
            **problems.openapi_responses(401, 403, 429),
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        },
    )
    async def metrics() -> Response:
        """Counts and times of all processes of the service, in Prometheus's text format."""
        runtime.update_gauges()
        return Response(runtime.metrics.exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    @router.post(
        "/admin/reload",
        tags=["operation"],
        summary="Load the bundle again",
        responses=problems.openapi_responses(401, 403, 409, 429),
    )
    async def reload() -> Reloaded:
        """Loads the bundle again while the old one answers, as SIGHUP does; no request is dropped.

        A bundle that cannot be used changes nothing, and is answered with 409.
        """
        if runtime.settings.processes > 1:
            os.kill(os.getppid(), signal.SIGHUP)  # the supervisor forwards it to all processes
            return Reloaded(status="reloading", faces=len(runtime.engine.bundle.gallery))
        engine = await runtime.reload()
        return Reloaded(status="reloaded", faces=len(engine.bundle.gallery))

    return router
