"""Requests for explanations, and how an explanation becomes an answer."""

import base64
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from mien.service.answers.space import EmotionDirection, Explanation, MatchExplanation, MatchPicture
from mien.service.inference.explanation import FaceExplanation, SharedTraits
from mien.service.schemas.queries import Query
from mien.service.schemas.strict import MAX_COUNT, StrictModel

MAX_ID_LENGTH: Final = 1000
"""Characters of an id in a request."""


class ExplainQuery(StrictModel):
    """Parameters of an explanation: which face of the image, and which match."""

    already_cropped: bool = Field(default=False, description="The image is a face crop: nothing is detected.")
    face: int = Field(
        0, ge=0, le=MAX_COUNT, description="Its number among the faces of the image, largest first, from 0."
    )
    emotion: str | None = Field(None, max_length=100, description="The emotion to explain; without it, the nearest.")
    match: str | None = Field(
        None,
        max_length=MAX_ID_LENGTH,
        description="A face of the gallery, to compare with.",
        examples=["fer0012345"],
    )


class PointPair(StrictModel):
    """The JSON body of a request about a point and a match, without an image of the point."""

    query: Query
    match: str = Field(max_length=MAX_ID_LENGTH, description="A face of the gallery.", examples=["fer0012345"])


def explanation(found: FaceExplanation) -> Explanation:
    """The answer for an explanation."""
    return Explanation(
        emotion=found.emotion,
        probability=found.probability,
        heat=None if found.heat is None else found.heat.tolist(),
        crop=None if found.crop is None else _png(found.crop),
        match=None if found.shared is None else _match_explanation(found.shared),
    )


def _match_explanation(shared: SharedTraits) -> MatchExplanation:
    comparison = shared.comparison
    explained = sum(each.share for each in comparison.directions)
    picture = None
    if shared.match_crop is not None and shared.match_heat is not None:
        picture = MatchPicture(crop=_png(shared.match_crop), heat=shared.match_heat.tolist())
    query_posterior, posterior = (
        dict(zip(shared.emotions, each.tolist(), strict=True)) for each in comparison.posteriors
    )
    return MatchExplanation(
        id=shared.match.id,
        distance=comparison.distance,
        query_emotion=comparison.emotions[0],
        query_sub_class=comparison.sub_classes[0],
        query_sub_class_name=shared.sub_class_names[0],
        emotion=comparison.emotions[1],
        sub_class=comparison.sub_classes[1],
        sub_class_name=shared.sub_class_names[1],
        label=shared.match.label,
        query_posterior=query_posterior,
        posterior=posterior,
        overlap=comparison.overlap,
        directions=[
            EmotionDirection(emotion=each.emotion, share=each.share, more=each.towards)
            for each in comparison.directions
        ],
        unexplained=max(0.0, 1 - explained) if comparison.distance > 0 else 0.0,
        heat=None if shared.heat is None else shared.heat.tolist(),
        picture=picture,
    )


def _png(crop: NDArray[np.uint8]) -> str:
    buffer = BytesIO()
    Image.fromarray(crop).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
