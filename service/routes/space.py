"""The endpoints that show the space: /map, /atlas, /portrait and /portraits."""

import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from mien.index.errors import QueryError
from mien.service.inference.runtime import Runtime
from mien.service.inference.space import Space
from mien.service.inference.worker_pool import Priority
from mien.service.routes import problems, uploads
from mien.service.routes.cached_json import CachedJson
from mien.service.schemas.map import Atlas, MapAnswer
from mien.service.schemas.queries import EmbeddingQuery, EmotionQuery, FaceIdQuery, SubClassQuery
from mien.service.schemas.queries import Query as PointName

MAX_PORTRAITS: Final = 256
"""Portraits of one request."""

_PROBLEMS: Final = problems.openapi_responses(401, 403, 422, 429, 503)
_PNG: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"image/png": {}}, "description": "A grey PNG picture."}
}


class PortraitQuery(BaseModel):
    """Which point is painted: exactly one of the first four."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(None, max_length=1000, description="A face of the gallery.", examples=["fer0012345"])
    emotion: str | None = Field(None, max_length=100, description="The centroid of an emotion.", examples=["surprise"])
    sub_class: str | None = Field(None, max_length=100, description="The centroid of a sub-class.")
    embedding: str | None = Field(None, max_length=8192, description="The numbers of a point, with commas between.")
    side_px: int = Field(192, ge=16, le=480, description="Height and width of the picture.")

    def point_name(self) -> PointName:
        """The point as other endpoints take it.

        Raises:
            QueryError: none or several are named, or an embedding is no list of numbers.
        """
        given = [name for name in ("id", "emotion", "sub_class", "embedding") if getattr(self, name) is not None]
        if len(given) != 1:
            came = ", ".join(given) or "none"
            raise QueryError(f"a portrait wants one of id, emotion, sub_class and embedding, got {came}")
        if self.id is not None:
            return FaceIdQuery(id=self.id)
        if self.emotion is not None:
            return EmotionQuery(emotion=self.emotion)
        if self.sub_class is not None:
            return SubClassQuery(sub_class=self.sub_class)
        try:
            return EmbeddingQuery(embedding=[float(number) for number in (self.embedding or "").split(",")])
        except ValueError:
            raise QueryError("embedding should be finite numbers with commas between") from None


class PortraitsQuery(BaseModel):
    """The JSON body of a request for several portraits."""

    model_config = ConfigDict(extra="forbid")

    queries: list[PointName] = Field(min_length=1, max_length=MAX_PORTRAITS, description="What is painted, in order.")


class Spaces:
    """The space of the bundle and the gallery of the moment; a reload brings another."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._shown: Space | None = None
        self._lock = threading.Lock()

    def current(self) -> Space:
        """The space that is served now.

        Raises:
            NotReadyError: the service is starting or stopping.
        """
        engine = self._runtime.loaded().engine
        with self._lock:
            if self._shown is None or self._shown.bundle is not engine.bundle:
                self._shown = Space(engine.bundle, engine.gallery)
            return self._shown

    def painted(self, queries: Sequence[PointName], side_px: int | None = None) -> bytes:
        """See ``Space.painted``."""
        return self.current().painted(queries, side_px)


def space_router(runtime: Runtime) -> APIRouter:
    """The endpoints, over what runs."""
    router = APIRouter(tags=["space"])
    spaces = Spaces(runtime)

    async def written(request: Request, read: Callable[[Space], CachedJson]) -> Response:
        space = spaces.current()
        answer = await runtime.pool.run(Priority.ANSWER, lambda: read(space))
        headers = {"ETag": answer.etag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
        if request.headers.get("if-none-match") == answer.etag:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(answer.compressed, media_type=uploads.JSON, headers=headers | {"Content-Encoding": "gzip"})
        return Response(answer.plain, media_type=uploads.JSON, headers=headers)

    @router.get("/map", summary="The space seen flat", response_model=MapAnswer, responses=_PROBLEMS)
    async def flat_map(request: Request) -> Response:
        """The faces of the gallery as points, the emotions' Gaussians as ellipses.

        A large gallery is shown by a sample that is drawn evenly: `faces` says how many it has. Where it changes, the
        answer follows within seconds.
        """
        return await written(request, Space.map)

    @router.get("/atlas", summary="Every emotion and sub-class", response_model=Atlas, responses=_PROBLEMS)
    async def atlas(request: Request) -> Response:
        """Shares and nearest faces of each in the gallery, and how raters voted on the faces of the bundle.

        Where the gallery changes, the answer follows within seconds.
        """
        return await written(request, Space.atlas)

    @router.get(
        "/portrait",
        summary="Paint the average face of a point",
        response_class=Response,
        responses={**_PROBLEMS, **_PNG},
    )
    async def portrait(query: Annotated[PortraitQuery, Query()]) -> Response:
        """Shows no person: the average over all faces that lie near the point."""
        name = query.point_name()
        picture = await runtime.pool.run(Priority.ANSWER, lambda: spaces.painted([name], query.side_px))
        return Response(picture, media_type="image/png", headers={"Cache-Control": "private, max-age=300"})

    @router.post(
        "/portraits",
        summary="Paint the average faces of several points",
        response_class=Response,
        responses={**_PROBLEMS, **_PNG},
    )
    async def portraits(query: PortraitsQuery) -> Response:
        """One PNG picture, 48 pixels wide, with the portraits under one another in the order of the queries."""
        picture = await runtime.pool.run(Priority.ANSWER, lambda: spaces.painted(query.queries))
        return Response(picture, media_type="image/png")

    return router
