"""Requests for explanations, their answers, and how an explanation becomes an answer."""

import base64
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field

from mien.service.inference.explanation import FaceExplanation, SharedTraits
from mien.service.schemas.queries import Query
from mien.service.schemas.rounded import Rounded
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


Heat = list[list[Rounded]]


class PictureOfMatch(BaseModel):
    """The side of the match, where its gallery keeps a thumbnail of it."""

    crop: str = Field(description="The match as the network sees it: a grey PNG image, base64.")
    heat: Heat = Field(description="As `heat`, for the match: how much farther from the query it lies.")


class DirectionOfEmotion(BaseModel):
    """The share that an emotion has in the distance between two faces."""

    emotion: str = Field(examples=["surprise"])
    share: Rounded = Field(
        description="Of the squared distance; negative where it leads against the rest of the way.", examples=[0.31]
    )
    more: bool = Field(description="Whether the match lies further towards the emotion than the query.")


class MatchExplanation(BaseModel):
    """What a face and a match have in common, and what separates them."""

    id: str = Field(description="Of the match.", examples=["fer0012345"])
    distance: Rounded = Field(description="Between the two, in embedding units.", examples=[0.41])
    query_emotion: str = Field(description="The emotion nearest to the query.", examples=["happiness"])
    query_sub_class: str | None = Field(
        description="Its sub-class, where the bundle has any.", examples=["happiness/2"]
    )
    query_sub_class_name: str | None = Field(
        description="Its name in words, if it has one.", examples=["happiness/closed smile"]
    )
    emotion: str = Field(description="The emotion nearest to the match.", examples=["happiness"])
    sub_class: str | None = Field(description="Its sub-class, where the bundle has any.", examples=["happiness/2"])
    sub_class_name: str | None = Field(
        description="Its name in words, if it has one.", examples=["happiness/closed smile"]
    )
    label: str | None = Field(description="The label of the match in the gallery.", examples=["happiness"])
    query_posterior: dict[str, Rounded] = Field(description="Probability of each emotion at the query.")
    posterior: dict[str, Rounded] = Field(description="Probability of each emotion at the match.")
    overlap: Rounded = Field(
        description="How far the two posteriors agree: the sum of the smaller of the two probabilities, 0 to 1.",
        examples=[0.93],
    )
    directions: list[DirectionOfEmotion] = Field(
        description="Share of each emotion in the distance, largest first; they sum to what emotions explain of it."
    )
    unexplained: Rounded = Field(
        description="Share of the squared distance that no emotion explains, 0 to 1.", examples=[0.58]
    )
    heat: Heat | None = Field(
        description="Rows from the top, each from the left: how much farther from the match the query lies, in "
        "embedding units, when a patch covers this place; negative where this place keeps the two apart. Null "
        "without an image of the query."
    )
    picture: PictureOfMatch | None = Field(description="Null where its gallery keeps no thumbnail.")


class Explanation(BaseModel):
    """What the emotion of a face rests on, and what the face and a match have in common."""

    emotion: str = Field(description="What is explained.", examples=["happiness"])
    probability: Rounded = Field(description="Of the emotion, of the whole face.", examples=[0.93])
    heat: Heat | None = Field(
        description="Rows from the top, each from the left: how far the probability falls on average when a patch "
        "covers this place of the crop; negative where the place speaks against the emotion. Null without an image.",
        examples=[[[0.0, 0.1], [0.4, 0.3]]],
    )
    crop: str | None = Field(
        description="The face as the network sees it: a grey PNG image, base64. Null without an image."
    )
    match: MatchExplanation | None = Field(None, description="With a match: what the two have in common.")


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
        picture = PictureOfMatch(crop=_png(shared.match_crop), heat=shared.match_heat.tolist())
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
            DirectionOfEmotion(emotion=each.emotion, share=each.share, more=each.towards)
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
