"""The endpoint that says why: /explain."""

import base64
from io import BytesIO
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from index.occlusion import occlusion_map
from model.errors import QueryError
from service import uploads
from service.cores import Order
from service.engine import Engine
from service.faces_routes import PROBLEMS
from service.problems import MissingFieldError
from service.runtime import Runtime
from service.schemas import Rounded


class ExplainQuery(BaseModel):
    """Which face of the image is explained."""

    model_config = ConfigDict(extra="forbid")

    already_cropped: bool = Field(default=False, description="The image is a face crop: nothing is detected.")
    face: int = Field(0, ge=0, description="Its place among the faces of the image, largest first, from 0.")
    emotion: str | None = Field(None, max_length=100, description="What is explained; without it, what was named.")


class Explanation(BaseModel):
    """What an emotion rests on in a face."""

    emotion: str = Field(description="What is explained.", examples=["happiness"])
    probability: Rounded = Field(description="Of the emotion, of the whole face.", examples=[0.93])
    heat: list[list[Rounded]] = Field(
        description="Rows from the top, each from the left: how far the probability falls on average when a patch "
        "covers this place of the crop; negative where the place speaks against the emotion.",
        examples=[[[0.0, 0.1], [0.4, 0.3]]],
    )
    crop: str = Field(description="The face as the network sees it: a grey PNG picture, base64.")


def explain_router(runtime: Runtime) -> APIRouter:
    """The endpoint, over what runs."""
    router = APIRouter(tags=["faces"])

    @router.post(
        "/explain",
        summary="Show what a face's emotion rests on",
        response_model=Explanation,
        responses=PROBLEMS,
        openapi_extra=uploads.request_body(),
    )
    async def explain(request: Request, query: Annotated[ExplainQuery, Query()]) -> Response:
        """Covers one place of the face after the other, and sees where the probability of its emotion falls."""
        runtime.images.check()
        if uploads.content_type(request) != uploads.FORM:
            raise MissingFieldError(f"send the image as a file in the field '{uploads.FIELD}' of a {uploads.FORM} body")
        images = await uploads.read_form(request, 1)
        image = images.each[0]
        if isinstance(image, Exception):
            raise image
        serving = runtime.serving()
        with runtime.images.holding(1):
            async with runtime.deadline():
                answer = await runtime.cores.run(Order.READ, lambda: explained(serving.engine, image, query))
        return Response(answer.model_dump_json(), media_type=uploads.JSON)

    return router


def explained(engine: Engine, image: bytes, query: ExplainQuery) -> Explanation:
    """Explain one face of an image.

    Raises:
        ImageError: the image cannot be used, or has no face.
        QueryError: it has fewer faces, or the emotion is not known.
    """
    emotions = engine.bundle.mixture.emotions
    if query.emotion is not None and query.emotion not in emotions:
        raise QueryError(f"expected one of {', '.join(emotions)}, got {query.emotion!r}")
    faces = engine.find(image, already_cropped=query.already_cropped)
    if query.face >= len(faces):
        raise QueryError(f"the image has {len(faces)} faces, face should be below that, got {query.face}")
    crop = faces[query.face].crop
    embedder, mixture = engine.pipeline.embedder, engine.bundle.mixture
    posterior = mixture.posterior(embedder.embed(crop[None]))[0]
    emotion = emotions.index(query.emotion) if query.emotion is not None else int(posterior.argmax())
    heat = occlusion_map(crop, embedder.embed, mixture, emotion)
    buffer = BytesIO()
    Image.fromarray(crop).save(buffer, "PNG")
    return Explanation(
        emotion=emotions[emotion],
        probability=float(posterior[emotion]),
        heat=heat.tolist(),
        crop=base64.b64encode(buffer.getvalue()).decode(),
    )
