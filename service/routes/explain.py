"""The endpoint that says why: /explain."""

from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import TypeAdapter

from mien.index.errors import QueryError
from mien.service.errors import MissingFieldError
from mien.service.inference.engine import Engine
from mien.service.inference.explanation import ExplainQuery, Explanation, PointPair, explained, explained_pair
from mien.service.inference.runtime import Runtime
from mien.service.inference.worker_pool import Priority
from mien.service.routes import uploads
from mien.service.routes.faces import PROBLEMS

_POINT_PAIR: Final = TypeAdapter(PointPair)


def explain_router(runtime: Runtime) -> APIRouter:
    """The endpoint, over what runs."""
    router = APIRouter(tags=["faces"])

    @router.post(
        "/explain",
        summary="Show what a face's emotion, or its closeness to a match, rests on",
        response_model=Explanation,
        responses=PROBLEMS,
        openapi_extra=uploads.openapi_images("PointPair"),
    )
    async def explain(request: Request, query: Annotated[ExplainQuery, Query()]) -> Response:
        """Covers one place of the face after the other, and sees where the probability of its emotion falls.

        With `match`, the id of a face of the gallery, it also answers what the two share: where the query lies farther
        from the match when it is covered, the same on the match's side where its picture is kept, how the two are
        named, and which emotions the distance that is left is made of. A JSON body asks this about a `query` without a
        picture, as `POST /retrieve` takes it.
        """
        answer_of = await _question(request, query)
        engine = runtime.loaded().engine
        async with runtime.admit(1):
            answer = await runtime.pool.run(Priority.READ, lambda: answer_of(engine))
        return Response(answer.model_dump_json(), media_type=uploads.JSON)

    return router


async def _question(request: Request, query: ExplainQuery) -> Callable[[Engine], Explanation]:
    kind = uploads.content_type(request)
    if kind == uploads.JSON:
        pair = await uploads.read_json(request, _POINT_PAIR)
        beside = sorted(query.model_fields_set)
        if beside:
            raise QueryError(f"a query without a picture is all in its body, got the parameters {', '.join(beside)}")
        return lambda engine: explained_pair(engine, pair)
    if kind != uploads.FORM:
        raise MissingFieldError(
            f"send the image as a file in the field '{uploads.IMAGE}' of a {uploads.FORM} body, or a query and a match "
            f"as JSON, got {kind or 'no content type'}"
        )
    image = (await uploads.read_form(request, 1)).files[0]
    if isinstance(image, Exception):
        raise image
    return lambda engine: explained(engine, image, query)
