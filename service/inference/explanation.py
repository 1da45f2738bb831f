"""Why: what the emotion of a face rests on, and what a face and a match share."""

import base64
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from mien.index.errors import QueryError, UnknownFaceError
from mien.index.gallery.face import GalleryFace
from mien.index.mixture.comparison import compare_points
from mien.index.views.occlusion import Occlusion, closeness_map, emotion_map, occlude
from mien.service.inference.engine import Engine
from mien.service.schemas.faces import Rounded
from mien.service.schemas.queries import FaceIdQuery, Query, point_of

MAX_ID_LENGTH = 1000
"""Characters of an id in a request."""


class ExplainQuery(BaseModel):
    """Which face of the image is explained, and beside which match."""

    model_config = ConfigDict(extra="forbid")

    already_cropped: bool = Field(default=False, description="The image is a face crop: nothing is detected.")
    face: int = Field(0, ge=0, description="Its place among the faces of the image, largest first, from 0.")
    emotion: str | None = Field(None, max_length=100, description="What is explained; without it, what was named.")
    match: str | None = Field(
        None,
        max_length=MAX_ID_LENGTH,
        description="A face of the gallery: what the two share.",
        examples=["fer0012345"],
    )


class PointPair(BaseModel):
    """The JSON body of a question about a point and a match, without a picture of the first."""

    model_config = ConfigDict(extra="forbid")

    query: Query
    match: str = Field(max_length=MAX_ID_LENGTH, description="A face of the gallery.", examples=["fer0012345"])


Heat = list[list[Rounded]]


class PictureOfMatch(BaseModel):
    """The match's side, where its gallery keeps a picture of it."""

    crop: str = Field(description="The match as the network sees it: a grey PNG picture, base64.")
    heat: Heat = Field(description="As the other one, seen from the match: how much farther the query lies.")


class DirectionOfEmotion(BaseModel):
    """The part that an emotion has in what separates two faces."""

    emotion: str = Field(examples=["surprise"])
    share: Rounded = Field(
        description="Of the squared distance; negative where it leads against the rest of the way.", examples=[0.31]
    )
    more: bool = Field(description="Whether the match lies further towards the emotion than the query.")


class MatchExplanation(BaseModel):
    """What a face and a match share, and what keeps them apart."""

    id: str = Field(description="Of the match.", examples=["fer0012345"])
    distance: Rounded = Field(description="Between the two, in embedding units.", examples=[0.41])
    query_emotion: str = Field(description="The emotion nearest to the query.", examples=["happiness"])
    query_sub_class: str | None = Field(
        description="Its sub-class, where the bundle has any.", examples=["happiness/2"]
    )
    emotion: str = Field(description="The emotion nearest to the match.", examples=["happiness"])
    sub_class: str | None = Field(description="Its sub-class, where the bundle has any.", examples=["happiness/2"])
    label: str | None = Field(description="What the gallery says that the match shows.", examples=["happiness"])
    query_posterior: dict[str, Rounded] = Field(description="Probability of each emotion at the query.")
    posterior: dict[str, Rounded] = Field(description="Probability of each emotion at the match.")
    overlap: Rounded = Field(
        description="How far the two posteriors agree: the sum of the smaller of the two probabilities, 0 to 1.",
        examples=[0.93],
    )
    directions: list[DirectionOfEmotion] = Field(
        description="What the distance is made of, largest share first; the shares sum to what emotions explain of it."
    )
    unexplained: Rounded = Field(
        description="The share of the squared distance that lies across all emotions, 0 to 1.", examples=[0.58]
    )
    heat: Heat | None = Field(
        description="Rows from the top, each from the left: how much farther from the match the query lies, in "
        "embedding units, when a patch covers this place; negative where what is seen there keeps them apart. Null "
        "without a picture of the query."
    )
    picture: PictureOfMatch | None = Field(description="Null where no picture of it is kept: it has a point alone.")


class Explanation(BaseModel):
    """What an emotion rests on in a face, and what the face shares with a match, where one was named."""

    emotion: str = Field(description="What is explained.", examples=["happiness"])
    probability: Rounded = Field(description="Of the emotion, of the whole face.", examples=[0.93])
    heat: Heat | None = Field(
        description="Rows from the top, each from the left: how far the probability falls on average when a patch "
        "covers this place of the crop; negative where the place speaks against the emotion. Null without a picture.",
        examples=[[[0.0, 0.1], [0.4, 0.3]]],
    )
    crop: str | None = Field(
        description="The face as the network sees it: a grey PNG picture, base64. Null without a picture."
    )
    match: MatchExplanation | None = Field(None, description="Where a match was named: what the two share.")


def explained(engine: Engine, image: bytes, query: ExplainQuery) -> Explanation:
    """Explain one face of an image.

    Raises:
        ImageError: the image cannot be used, or has no face.
        QueryError: it has fewer faces, or the emotion or the match is not known.
    """
    emotions = engine.bundle.mixture.emotions
    if query.emotion is not None and query.emotion not in emotions:
        raise QueryError(f"expected one of {', '.join(emotions)}, got {query.emotion!r}")
    match = None if query.match is None else _face(engine, query.match)
    faces = engine.read_faces(image, already_cropped=query.already_cropped)
    if query.face >= len(faces):
        raise QueryError(f"the image has {len(faces)} faces, face should be below that, got {query.face}")
    crop = faces[query.face].crop
    occlusion = occlude(crop, engine.pipeline.embedder.embed)
    return _explanation(engine, occlusion.whole, query.emotion, (crop, occlusion), match)


def explained_pair(engine: Engine, pair: PointPair) -> Explanation:
    """Explain what a point and a match share; a face of the gallery is looked at, where its picture is kept.

    Raises:
        QueryError: the query names nothing that there is, or the match is not known.
    """
    point = point_of(pair.query, engine.bundle, engine.gallery)
    match = _face(engine, pair.match)
    seen = None
    if isinstance(pair.query, FaceIdQuery):
        seen = _seen(engine, _face(engine, pair.query.id))
    return _explanation(engine, point, None, seen, match)


Seen = tuple[NDArray[np.uint8], Occlusion]
"""A face's crop, and how the network reads it when a place is covered."""


def _explanation(
    engine: Engine, point: NDArray[np.float32], emotion: str | None, seen: Seen | None, match: GalleryFace | None
) -> Explanation:
    mixture = engine.bundle.mixture
    posterior = mixture.posterior(point[None])[0]
    place = int(posterior.argmax()) if emotion is None else mixture.emotions.index(emotion)
    return Explanation(
        emotion=mixture.emotions[place],
        probability=float(posterior[place]),
        heat=None if seen is None else emotion_map(seen[1], mixture, place).tolist(),
        crop=None if seen is None else _png(seen[0]),
        match=None if match is None else _shared(engine, point, seen, match),
    )


def _shared(engine: Engine, point: NDArray[np.float32], seen: Seen | None, match: GalleryFace) -> MatchExplanation:
    found = compare_points(engine.bundle.mixture, engine.bundle.sub_classes, point, match.embedding)
    emotions = engine.bundle.mixture.emotions
    own = _seen(engine, match)
    parts = [DirectionOfEmotion(emotion=each.emotion, share=each.share, more=each.towards) for each in found.directions]
    picture = None
    if own is not None:
        picture = PictureOfMatch(crop=_png(own[0]), heat=closeness_map(own[1], point).tolist())
    return MatchExplanation(
        id=match.id,
        distance=found.distance,
        query_emotion=found.emotions[0],
        query_sub_class=found.sub_classes[0],
        emotion=found.emotions[1],
        sub_class=found.sub_classes[1],
        label=match.label,
        query_posterior=dict(zip(emotions, found.posteriors[0].tolist(), strict=True)),
        posterior=dict(zip(emotions, found.posteriors[1].tolist(), strict=True)),
        overlap=found.overlap,
        directions=parts,
        unexplained=max(0.0, 1 - sum(each.share for each in found.directions)) if found.distance > 0 else 0.0,
        heat=None if seen is None else closeness_map(seen[1], match.embedding).tolist(),
        picture=picture,
    )


def _face(engine: Engine, face_id: str) -> GalleryFace:
    try:
        return engine.gallery.get(face_id)
    except UnknownFaceError as error:
        raise QueryError(str(error)) from None  # the question is wrong, not the address


def _seen(engine: Engine, face: GalleryFace) -> Seen | None:
    """A face of the gallery and its occlusion; None where no picture that the network can read is kept."""
    if face.thumbnail is None:
        return None
    embedder = engine.pipeline.embedder
    try:
        picture = Image.open(BytesIO(face.thumbnail))
        if picture.size != (embedder.side_px, embedder.side_px):  # before anything is decoded
            return None
        crop = np.asarray(picture.convert("L"), dtype=np.uint8)
    except (OSError, ValueError):
        return None
    return crop, occlude(crop, embedder.embed)


def _png(crop: NDArray[np.uint8]) -> str:
    buffer = BytesIO()
    Image.fromarray(crop).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
