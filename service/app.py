"""The HTTP service."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import anyio.to_thread
import fastapi_offline
from fastapi import FastAPI, Query, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from service import problems, uploads
from service.engine import Engine
from service.problems import NotReadyError, Problem
from service.schemas import Classification, FaceQuery, Health, Retrieval, RetrievalQuery
from service.settings import Settings

DOCS_FILES: Final = "/docs/files"

DESCRIPTION: Final = """
**mien** retrieves faces by expression: a photograph goes in; out come the faces with the most similar expression, and
an emotion. Emotions are named by the nearest Gaussian centroid of the embedding space (arXiv 2001.06612).

Errors are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem details.
"""

_IMAGE_PROBLEMS: Final = problems.documented(400, 413, 415, 422)


def create_app(engine: Engine, settings: Settings) -> FastAPI:
    """The service over a loaded engine."""
    slots = anyio.CapacityLimiter(settings.workers or os.cpu_count() or 1)
    ready = False

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal ready
        ready = True
        yield
        ready = False

    async def answer(task: Callable[[], BaseModel]) -> Response:
        """Run what keeps a core busy, writing large answers as JSON included, off the event loop."""
        body = await anyio.to_thread.run_sync(lambda: task().model_dump_json(), limiter=slots)
        return Response(body, media_type="application/json")

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
    app.add_middleware(uploads.BodyLimit, max_bytes=settings.max_body_bytes)
    problems.install(app)
    _serve_docs(app)

    @app.post(
        "/classify",
        tags=["faces"],
        summary="Name the emotion of each face",
        response_model=Classification,
        responses=_IMAGE_PROBLEMS,
        openapi_extra=uploads.REQUEST_BODY,
    )
    async def classify(request: Request, query: Annotated[FaceQuery, Query()]) -> Response:
        """Finds the faces of an image and names the emotion of each, largest face first."""
        data = await uploads.read_image(request)
        return await answer(lambda: engine.classify(data, already_cropped=query.already_cropped))

    @app.post(
        "/retrieve",
        tags=["faces"],
        summary="Find the gallery's nearest expressions",
        response_model=Retrieval,
        responses=_IMAGE_PROBLEMS,
        openapi_extra=uploads.REQUEST_BODY,
    )
    async def retrieve(request: Request, query: Annotated[RetrievalQuery, Query()]) -> Response:
        """Finds the faces of an image and, for each, the k faces of the gallery with the most similar expression."""
        data = await uploads.read_image(request)
        return await answer(lambda: engine.retrieve(data, k=query.k, already_cropped=query.already_cropped))

    @app.get("/health/live", tags=["health"], summary="Is the process alive?")
    async def live() -> Health:
        """Answers as long as the event loop turns."""
        return Health(status="live")

    @app.get("/health/ready", tags=["health"], summary="Does it answer requests?", responses=problems.documented(503))
    async def is_ready() -> Health:
        """Answers 200 while the bundle is loaded and warm, else 503."""
        if not ready:
            raise NotReadyError("mien is starting or stopping")
        return Health(status="ready")

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("/docs")

    _describe_problems(app)
    return app


def _serve_docs(app: FastAPI) -> None:
    """/docs and /redoc from files that are installed: neither asks another host for anything."""
    files = Path(fastapi_offline.__file__).parent / "static"
    app.mount(DOCS_FILES, StaticFiles(directory=files), name="docs-files")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="mien",
            swagger_js_url=f"{DOCS_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{DOCS_FILES}/swagger-ui.css",
            swagger_favicon_url=f"{DOCS_FILES}/favicon.png",
        )

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> HTMLResponse:
        return get_redoc_html(
            openapi_url="/openapi.json",
            title="mien",
            redoc_js_url=f"{DOCS_FILES}/redoc.standalone.js",
            redoc_favicon_url=f"{DOCS_FILES}/favicon.png",
            with_google_fonts=False,
        )


def _describe_problems(app: FastAPI) -> None:
    """Put the form of errors into the OpenAPI description, in place of FastAPI's own."""
    description = app.openapi()
    schemas = description["components"]["schemas"]
    schemas["Problem"] = Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
