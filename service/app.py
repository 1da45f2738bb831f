"""The HTTP service: its parts, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from mien.service.inference.engine import Engine
from mien.service.inference.explanation import PointPair
from mien.service.inference.runtime import Runtime
from mien.service.middleware.api_keys import Keys
from mien.service.middleware.auth import Access
from mien.service.middleware.load_shedding import Door
from mien.service.middleware.rate_limit import Rates
from mien.service.middleware.request_log import Tracking
from mien.service.routes import problems
from mien.service.routes.docs import describe, serve_docs
from mien.service.routes.explain import explain_router
from mien.service.routes.faces import faces_router
from mien.service.routes.gallery import gallery_router
from mien.service.routes.health import health_router
from mien.service.routes.page import serve_page
from mien.service.routes.space import space_router
from mien.service.routes.stream import stream_router
from mien.service.routes.uploads import BodyLimit, JsonImages
from mien.service.routes.video import VIDEO_PATH, video_router
from mien.service.schemas.gallery import FaceChanges, NewFaces
from mien.service.schemas.queries import PointQuery
from mien.service.schemas.video import EndLine, FrameLine, TrackLine
from mien.service.settings import Settings

DESCRIPTION: Final = """
**mien** retrieves faces by expression: a photograph goes in; out come the faces with the most similar expression, and
an emotion. Emotions are named by the nearest Gaussian centroid of the embedding space (arXiv 2001.06612).

Errors are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem details.
"""


def create_app(engine: Engine, settings: Settings) -> FastAPI:
    """The service over a loaded engine.

    Raises:
        ConfigError: the key file of the settings cannot be used.
    """
    return create_app_on(Runtime(engine, settings))


def create_app_on(runtime: Runtime) -> FastAPI:
    """The service over what runs; its routers are mounted here, one line each.

    Raises:
        ConfigError: the key file of the settings cannot be used.
    """
    settings = runtime.settings

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await runtime.start()
        yield
        await runtime.stop()

    app = FastAPI(
        title="mien",
        summary="Expression retrieval",
        description=DESCRIPTION,
        version=version("mien"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    # The last that is added is the first that a request meets.
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_body_bytes,
        together=runtime.bodies,
        longest_s=settings.timeout_s,
        other={VIDEO_PATH: settings.video_body_bytes},
    )
    app.add_middleware(Door, images=runtime.images)
    app.add_middleware(
        Access,
        keys=Keys(settings.keys) if settings.keys is not None else None,
        rates=Rates(settings.rate_per_s / settings.processes),
    )
    app.add_middleware(Tracking, metrics=runtime.metrics)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=("Authorization", "Content-Type", "X-API-Key", "X-Request-ID"),
            expose_headers=("X-Request-ID", "Retry-After"),
        )
    problems.install(app)
    app.include_router(faces_router(runtime))
    app.include_router(video_router(runtime))
    app.include_router(stream_router(runtime))
    app.include_router(gallery_router(runtime))
    app.include_router(health_router(runtime))
    app.include_router(explain_router(runtime))
    app.include_router(space_router(runtime))
    serve_docs(app)
    serve_page(app)
    describe(app, JsonImages, PointQuery, PointPair, NewFaces, FaceChanges, FrameLine, TrackLine, EndLine)
    return app
