"""The HTTP service: middleware in the order that a request passes it, and the routers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from mien.service.answers.video import VideoEnd, VideoFrame, VideoTrack
from mien.service.inference.admission import VIDEO_PATH
from mien.service.inference.engine import Engine
from mien.service.inference.runtime import Runtime
from mien.service.middleware.api_keys import Keys
from mien.service.middleware.auth import Auth
from mien.service.middleware.body_limit import BodyLimit
from mien.service.middleware.early_answer import EarlyAnswer
from mien.service.middleware.head_requests import HeadRequests
from mien.service.middleware.load_shedding import LoadShedding
from mien.service.middleware.origins import Hosts, OriginCheck
from mien.service.middleware.rate_limit import RateLimiter
from mien.service.middleware.request_log import RequestLog
from mien.service.routes import problems
from mien.service.routes.docs import complete_openapi, serve_docs
from mien.service.routes.explain import explain_router
from mien.service.routes.faces import faces_router
from mien.service.routes.gallery import gallery_router
from mien.service.routes.health import health_router
from mien.service.routes.info import info_router
from mien.service.routes.page import serve_page
from mien.service.routes.space import space_router
from mien.service.routes.stream import stream_router
from mien.service.routes.thumbnails import thumbnails_router
from mien.service.routes.video import video_router
from mien.service.schemas.explain import PointPair
from mien.service.schemas.gallery import FaceChanges, NewFaces
from mien.service.schemas.portraits import PortraitsQuery
from mien.service.schemas.queries import JsonImages, PointQuery
from mien.service.schemas.thumbnails import ThumbnailsQuery
from mien.service.settings import Settings

DESCRIPTION: Final = """
**mien** retrieves faces by expression: a photograph goes in; out come the faces with the most similar expression, and
an emotion. Emotions are named by the nearest Gaussian centroid of the embedding space (arXiv 2001.06612).

Errors are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem details.
"""


def create_app(engine: Engine, settings: Settings) -> FastAPI:
    """The app of a service that answers from ``engine``.

    Raises:
        ConfigError: the key file of the settings cannot be used.
    """
    return create_app_on(Runtime(engine, settings))


def create_app_on(runtime: Runtime, hosts: Hosts | None = None) -> FastAPI:
    """The app of a service with the given runtime.

    Args:
        runtime: that answers.
        hosts: that requests may be for; None for all.

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
    # The last that is added is the first that a request passes.
    app.add_middleware(HeadRequests)
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_body_bytes,
        all_bodies=runtime.admission.body_bytes,
        large_bodies=runtime.admission.large_body_bytes,
        min_bytes_per_s=settings.min_upload_bytes_per_s,
        max_s=settings.timeout_s,
        max_bytes_by_path={VIDEO_PATH: settings.video_body_bytes},
    )
    app.add_middleware(LoadShedding, limits=runtime.admission.by_path, max_s=settings.timeout_s)
    keys = Keys(settings.keys, runtime.metrics) if settings.keys is not None else None
    rates = RateLimiter(settings.rate_per_s / settings.processes)
    app.add_middleware(Auth, keys=keys, rates=rates)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=("Authorization", "Content-Type", "X-API-Key", "X-Request-ID"),
            expose_headers=("X-Request-ID", "Retry-After"),
        )
    app.add_middleware(OriginCheck, hosts=hosts, origins=settings.origins, rates=rates, keys=keys is not None)
    app.add_middleware(RequestLog, metrics=runtime.metrics)
    app.add_middleware(EarlyAnswer)
    problems.install(app)
    app.include_router(faces_router(runtime))
    app.include_router(video_router(runtime))
    app.include_router(stream_router(runtime))
    app.include_router(gallery_router(runtime))
    app.include_router(thumbnails_router(runtime))
    app.include_router(info_router(runtime))
    app.include_router(health_router(runtime))
    app.include_router(explain_router(runtime))
    app.include_router(space_router(runtime))
    serve_docs(app)
    serve_page(app)
    complete_openapi(
        app,
        JsonImages,
        PointQuery,
        PointPair,
        PortraitsQuery,
        ThumbnailsQuery,
        NewFaces,
        FaceChanges,
        VideoFrame,
        VideoTrack,
        VideoEnd,
    )
    return app
