"""The endpoints that show the space: /map, /atlas, /portrait and /portraits."""

import threading
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter

from mien.index.errors import QueryError
from mien.service.answers.space import Atlas, Map
from mien.service.inference.engine import Engine
from mien.service.inference.portraits import PortraitCache
from mien.service.inference.runtime import Runtime
from mien.service.inference.space import Space
from mien.service.routes import problems, uploads
from mien.service.routes.cached_json import CachedJson, RefreshingCache
from mien.service.schemas.map import atlas_answer, map_answer
from mien.service.schemas.portraits import PortraitQuery, PortraitsQuery
from mien.service.schemas.queries import Query as PointQuery
from mien.service.schemas.queries import count_points, point_of

_PROBLEMS: Final = problems.openapi_responses(401, 403, 422, 429, 503)
MAX_POINTS: Final = 1024
"""Points that the portraits of one request may come down to, those of mixes included."""

POINTS_PER_UNIT: Final = 32
"""Points of portraits that are found in one unit of work."""

_PORTRAITS: Final = TypeAdapter(PortraitsQuery)
_PNG: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"image/png": {}}, "description": "A grey PNG picture."}
}


class SpaceAnswers:
    """The answers about the space of one engine. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        """Answer about the bundle and the gallery of ``engine``.

        Raises:
            BundleError: its portraits belong to another network.
        """
        self.engine = engine
        self.portraits = PortraitCache(engine.bundle)
        space = Space(engine.bundle, engine.gallery)
        owned = not engine.gallery.read_only
        self.map = RefreshingCache(lambda: CachedJson(map_answer(space.map(), owned=owned)), space.version)
        self.atlas = RefreshingCache(
            lambda: CachedJson(atlas_answer(space.atlas(), owned=owned, portraits=self.portraits.can_paint)),
            space.version,
        )

    def points(self, queries: Sequence[PointQuery]) -> NDArray[np.float32]:
        """(n, d) points of queries.

        Raises:
            QueryError: a query names something that does not exist.
        """
        return np.stack([point_of(query, self.engine.bundle, self.engine.gallery) for query in queries])

    def paint(self, points: NDArray[np.float32], side_px: int | None = None) -> bytes:
        """A PNG file with the portraits of (n, d) points, one below the other.

        Args:
            points: of the portraits.
            side_px: height and width of each portrait; None leaves them as they are painted.

        Raises:
            QueryError: the bundle has no portraits.
        """
        return _png(self.portraits.paint(points), side_px)


class LoadedSpace:
    """The answers about the space of the engine that is loaded now, as work that is admitted."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._last: SpaceAnswers | None = None

    def answers(self) -> SpaceAnswers:
        """Those of the engine that is loaded now."""
        engine = self._runtime.loaded().engine
        with self._lock:
            if self._last is None or self._last.engine is not engine:
                self._last = SpaceAnswers(engine)
            return self._last

    async def paint(self, queries: Sequence[PointQuery], side_px: int | None = None) -> Response:
        """The portraits of points, as ``SpaceAnswers.paint`` paints them.

        Raises:
            QueryError: there are too many points, or a query names something that does not exist.
            RequestError: there is too much work, or it took too long.
        """
        count = sum(map(count_points, queries))
        if count > MAX_POINTS:
            raise QueryError(f"the portraits of a request may come down to {MAX_POINTS} points, got {count}")

        def find_points() -> tuple[SpaceAnswers, NDArray[np.float32]]:
            space = self.answers()
            return space, space.points(queries)

        lanes, cost = self._runtime.lanes, 1 + count // POINTS_PER_UNIT
        space, points = await lanes.queries.run(find_points, cost)
        picture = await lanes.views.run(lambda: space.paint(points, side_px), cost)
        return Response(picture, media_type="image/png")


def space_router(runtime: Runtime) -> APIRouter:
    """The router of the endpoints."""
    router = APIRouter(tags=["space"])
    space = LoadedSpace(runtime)

    async def answer_json(request: Request, cache_of: Callable[[SpaceAnswers], RefreshingCache]) -> Response:
        answer = await runtime.lanes.queries.run(lambda: cache_of(space.answers()).get(), 2)
        headers = {"ETag": answer.etag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
        if request.headers.get("if-none-match") == answer.etag:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(answer.compressed, media_type=uploads.JSON, headers=headers | {"Content-Encoding": "gzip"})
        return Response(answer.plain, media_type=uploads.JSON, headers=headers)

    @router.get("/map", summary="The space seen flat", response_model=Map, responses=_PROBLEMS)
    async def flat_map(request: Request) -> Response:
        """The faces of the gallery as points, the emotions' Gaussians as ellipses.

        A large gallery is shown by a sample that is drawn evenly: `faces` says how many it has. Where it changes, the
        answer follows within seconds.
        """
        return await answer_json(request, lambda answers: answers.map)

    @router.get("/atlas", summary="Every emotion and sub-class", response_model=Atlas, responses=_PROBLEMS)
    async def atlas(request: Request) -> Response:
        """Shares and nearest faces of each in the gallery, and how raters voted on the faces of the bundle.

        Where the gallery changes, the answer follows within seconds.
        """
        return await answer_json(request, lambda answers: answers.atlas)

    @router.get(
        "/portrait",
        summary="Paint the average face of a point",
        response_class=Response,
        responses={**_PROBLEMS, **_PNG},
    )
    async def portrait(query: Annotated[PortraitQuery, Query()]) -> Response:
        """Shows no person: the average over all faces that lie near the point."""
        picture = await space.paint([query.point()], query.side_px)
        picture.headers["Cache-Control"] = "private, max-age=300"
        return picture

    @router.post(
        "/portraits",
        summary="Paint the average faces of several points",
        response_class=Response,
        responses={**_PROBLEMS, **problems.openapi_responses(400, 408, 413), **_PNG},
        openapi_extra=uploads.openapi_body(None, "PortraitsQuery"),
    )
    async def portraits(request: Request) -> Response:
        """One PNG picture, 48 pixels wide, with the portraits under one another in the order of the queries."""
        query = await uploads.read_json(request, _PORTRAITS)
        return await space.paint(query.queries)

    return router


def _png(portraits: NDArray[np.uint8], side_px: int | None) -> bytes:
    """(n, side, side) portraits, scaled to ``side_px``, one below the other as a PNG file."""
    side = portraits.shape[1]
    if side_px is not None and side_px != side:
        size = (side_px, side_px)
        portraits = np.stack(
            [np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BICUBIC)) for each in portraits]
        )
    buffer = BytesIO()
    Image.fromarray(portraits.reshape(-1, portraits.shape[2])).save(buffer, "PNG")
    return buffer.getvalue()
