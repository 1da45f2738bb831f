"""The endpoint that explains an emotion or a match: /explain."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import TypeAdapter

from mien.index.views.occlusion import Embed
from mien.service.answers.space import Explanation
from mien.service.errors import MissingFieldError
from mien.service.inference.admission import EXPLANATION_UNITS
from mien.service.inference.engine import Engine
from mien.service.inference.explanation import FaceExplanation, embed_on_every_core, explain_face, explain_point
from mien.service.inference.prediction import ImageQuery
from mien.service.inference.runtime import Runtime
from mien.service.routes import uploads
from mien.service.routes.connected import while_connected
from mien.service.routes.faces import PROBLEMS
from mien.service.schemas.explain import ExplainQuery, PointPair, explanation
from mien.service.schemas.queries import FaceIdQuery, point_of

_POINT_PAIR: Final = TypeAdapter(PointPair)


def explain_router(runtime: Runtime) -> APIRouter:
    """The router of the endpoint."""
    router = APIRouter(tags=["faces"])

    @router.post(
        "/explain",
        summary="Show what a face's emotion, or its closeness to a match, rests on",
        response_model=Explanation,
        responses=PROBLEMS,
        openapi_extra=uploads.openapi_images("PointPair"),
    )
    async def explain(request: Request, query: Annotated[ExplainQuery, Query()]) -> Response:
        """Covers one place of the face after the other, and measures how far the probability of its emotion falls.

        With `match`, the id of a face of the gallery, it also answers what the two have in common: where the query lies
        farther from the match when it is covered, the same for the match where its gallery keeps a thumbnail, the
        emotions of both, and the share of each emotion in their distance. A JSON body takes a `query` without an image,
        as `POST /retrieve` does.
        """
        asked = await _read_request(request, query)
        loaded = runtime.loaded()
        engine = loaded.engine
        embed = embed_on_every_core(engine, runtime.pool)
        async with runtime.admit(1):
            if isinstance(asked, PointPair):
                found = await runtime.lanes.views.run(
                    lambda: _explain_pair(engine, embed, asked), cost=EXPLANATION_UNITS
                )
            else:
                faces = await while_connected(request, loaded.read_faces(ImageQuery(asked, query.already_cropped)))
                found = await runtime.lanes.views.run(
                    lambda: explain_face(
                        engine, embed, faces, face=query.face, emotion=query.emotion, match_id=query.match
                    ),
                    cost=EXPLANATION_UNITS,
                )
        return Response(explanation(found).model_dump_json(), media_type=uploads.JSON)

    return router


async def _read_request(request: Request, query: ExplainQuery) -> bytes | PointPair:
    """The image that is to be explained, or the point and its match."""
    kind = uploads.content_type(request)
    if kind == uploads.JSON:
        pair = await uploads.read_json(request, _POINT_PAIR)
        uploads.check_no_parameters(query)
        return pair
    if kind != uploads.FORM:
        raise MissingFieldError(
            f"send the image as a file in the field '{uploads.IMAGE}' of a {uploads.FORM} body, or a query and a match "
            f"as JSON, got {kind or 'no content type'}"
        )
    (file,) = (await uploads.read_form(request, 1)).files
    if isinstance(file, Exception):
        raise file
    return file


def _explain_pair(engine: Engine, embed: Embed, pair: PointPair) -> FaceExplanation:
    point = point_of(pair.query, engine.bundle, engine.gallery)
    face_id = pair.query.id if isinstance(pair.query, FaceIdQuery) else None
    return explain_point(engine, embed, point, face_id=face_id, match_id=pair.match)
