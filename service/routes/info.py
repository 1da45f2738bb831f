"""The endpoint about what is served: /info."""

from fastapi import APIRouter

from mien.service.answers.info import Info
from mien.service.inference.runtime import Runtime
from mien.service.routes import problems
from mien.service.schemas.info import info


def info_router(runtime: Runtime) -> APIRouter:
    """The router of the endpoint."""
    router = APIRouter(tags=["operation"])

    @router.get(
        "/info", summary="What is served, and its limits", responses=problems.openapi_responses(401, 403, 429, 503)
    )
    async def what_is_served() -> Info:
        """The gallery, the emotions, the scale of distances, and the limits of a request."""
        engine = runtime.loaded().engine
        return await runtime.lanes.queries.run(lambda: info(engine, runtime.settings))

    return router
