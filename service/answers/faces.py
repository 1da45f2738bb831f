"""Answers about the faces of images, and about points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from mien.service.answers.base import Answer, flatten
from mien.service.answers.options import Prior
from mien.service.answers.problem import Problem
from mien.service.answers.rounded import Degrees, Hundredths, Pixels, Rounded

REASONS: Final = {
    "untypical": "The face is unlike those with a known expression: `known` is false.",
    "small": "The face has too few pixels in the photograph.",
    "blurred": "The face lacks fine detail: it is out of focus, moved, or enlarged.",
    "turned": "The face is turned aside, up or down.",
    "cut_off": "A part of the face is outside the photograph.",
    "mouth_covered": "The mouth is covered, as by a mask or a hand.",
    "eyes_covered": "The eyes are covered, as by sunglasses.",
}
"""The codes of reasons, each in a sentence."""

_POSTERIOR: Final = {
    "neutral": 0.02,
    "happiness": 0.9,
    "surprise": 0.04,
    "sadness": 0.01,
    "anger": 0.01,
    "disgust": 0.01,
    "fear": 0.005,
    "contempt": 0.005,
}
_EMBEDDING: Final = [0.12, -1.4, 0.7]

_EMOTION_OF: Final = "The likeliest emotion: that of the nearest Gaussian centroid, unless the prior is data."
_POSTERIOR_OF: Final = "Probability of each emotion under the mixture; they sum to 1."
_POINT_OF: Final = "Its point in the embedding space of this bundle, not normalised."
_NAME_OF: Final = "Its name in words, if it has one."
_PRIOR_OF: Final = "Weights of the emotions in the posteriors."


class Quality(Answer):
    """What limits how well an expression can be read."""

    face_px: Pixels = Field(
        description="Side of the square that is the face, in pixels of the photograph.", examples=[519.3]
    )
    sharpness: Hundredths = Field(
        description="Share of the contrast that is in fine detail; sharp faces have about 0.2.", examples=[0.21]
    )
    yaw: Degrees | None = Field(
        description="Degrees that the face is turned to the right of the picture; null for an image that was already "
        "cropped.",
        examples=[-8.2],
    )
    pitch: Degrees | None = Field(description="Degrees that it looks up; null likewise.", examples=[3.0])
    roll: Degrees | None = Field(description="Degrees that it leans clockwise; null likewise.", examples=[1.4])
    outside: Hundredths = Field(description="Share of the face that is outside the photograph.", examples=[0.0])


class Face(Answer):
    """A face and its emotion: docs/answers.md explains the fields."""

    box: tuple[Pixels, Pixels, Pixels, Pixels] = Field(
        description="x, y, width and height in pixels of the upright image.", examples=[[412.5, 310.2, 508.0, 655.1]]
    )
    detection: Rounded | None = Field(
        description="The detector's score from 0 to 1; null for an image that was already cropped.", examples=[0.93]
    )
    emotion: str = Field(description=_EMOTION_OF, examples=["happiness"])
    posterior: dict[str, Rounded] = Field(description=_POSTERIOR_OF, examples=[_POSTERIOR])
    sub_class: str | None = Field(
        None,
        description="The likeliest sub-class of the emotion; null where the bundle has none.",
        examples=["happiness/2"],
    )
    sub_class_name: str | None = Field(None, description=_NAME_OF, examples=["happiness/closed smile"])
    distance: Rounded = Field(description="Distance to the emotion's centroid, in embedding units.", examples=[1.31])
    typicality: Rounded = Field(
        description="How typical the face is of the known expressions: the share of faces that are less so, 0 to 1.",
        examples=[0.62],
    )
    known: bool = Field(
        description="Whether the face is typical enough for a known expression; if not, its emotion means little.",
        examples=[True],
    )
    intensity: Rounded | None = Field(
        None,
        description="How strong the emotion is: the face's place on the line from neutral's centroid (0) to the "
        "emotion's (1), and beyond; null for neutral.",
        examples=[0.94],
    )
    quality: Quality | SkipJsonSchema[None] = None
    reasons: list[str] = Field(
        default_factory=list,
        description="Why the answer may be wrong; empty where nothing is.",
        examples=[["small", "blurred"]],
        json_schema_extra={"items": {"type": "string", "enum": list(REASONS)}},
    )


class FoundMatch(Answer):
    """A face of the gallery, and its distance to the query."""

    id: str = Field(description="Its id in the gallery.", examples=["fer0012345"])
    distance: Rounded = Field(description="Euclidean distance to the query, in embedding units.", examples=[0.41])
    label: str | None = Field(
        None, description="The emotion that its owner gives it; of FER+, that of most raters.", examples=["happiness"]
    )
    emotion: str | None = Field(None, description="The emotion that the mixture gives it.", examples=["happiness"])
    metadata: dict[str, Any] = Field(
        description="Its other fields in the gallery.",
        examples=[{"dataset": "FER+", "split": "Training", "votes": {"happiness": 9, "neutral": 1}}],
    )
    subject: str | None = Field(None, description="The person, where known.", examples=["anna"])
    sub_class: str | None = Field(None, description="Of that emotion, where known.", examples=["happiness/2"])
    sub_class_name: str | None = Field(None, description=_NAME_OF, examples=["happiness/closed smile"])
    has_thumbnail: bool = Field(
        default=False, description="Whether `GET /thumbnail` has a picture of it.", examples=[False]
    )


class SubClassMatches(Answer):
    """The nearest faces of one sub-class, counted."""

    emotion: str | None = Field(description="That the mixture gives them.", examples=["happiness"])
    sub_class: str | None = Field(description="Null where the bundle has none.", examples=["happiness/2"])
    sub_class_name: str | None = Field(None, description=_NAME_OF, examples=["happiness/closed smile"])
    faces: int = Field(examples=[43])
    share: Rounded = Field(description="Of the faces that are counted.", examples=[0.43])
    nearest: Rounded = Field(description="Distance of the nearest.", examples=[0.41])
    votes: dict[str, Rounded] = Field(
        description="Mean shares of the raters' votes, over those that were voted on; empty without any.",
        examples=[{"happiness": 0.91, "neutral": 0.09}],
    )


class MatchSummary(Answer):
    """The nearest faces, counted by sub-class."""

    faces: int = Field(description="How many are counted: fewer than asked for if fewer pass.", examples=[100])
    farthest: Rounded | None = Field(description="Distance of the last; null without any.", examples=[2.31])
    sub_classes: list[SubClassMatches] = Field(description="With most faces first.")


class Matches(Answer):
    """The gallery's nearest expressions; photographs and summary where they were asked for."""

    matches: list[FoundMatch] = Field(description="Nearest first.")
    next: str | None = Field(
        None, description="`after` of the next page; null if nothing matched.", examples=["WzEyLCAwLjQxLCAiYSJd"]
    )
    photographs: list[FoundMatch] | None = Field(
        None, description="The nearest that have a thumbnail; null unless asked for."
    )
    summary: MatchSummary | None = Field(None, description="Null unless asked for.")

    def rows(self) -> list[dict[str, Any]]:
        """A row for each match."""
        return [{"rank": rank, **match.model_dump()} for rank, match in enumerate(self.matches, 1)]


class EmbeddedFace(Face):
    """A face, its emotion, and its point in the space."""

    embedding: list[float] = Field(description=_POINT_OF, examples=[_EMBEDDING])


class MatchedFace(Matches, EmbeddedFace):
    """A face, its emotion, its point in the space, and the gallery's nearest expressions."""


class Classification(Answer):
    """The faces of an image, largest first."""

    faces: list[Face]
    prior: Prior = Field("uniform", description=_PRIOR_OF, examples=["uniform"])

    def rows(self) -> list[dict[str, Any]]:
        """A row for each face, with its number."""
        return _face_rows(self.faces)


class Embedding(Answer):
    """The faces of an image, largest first."""

    faces: list[EmbeddedFace]
    prior: Prior = Field("uniform", description=_PRIOR_OF, examples=["uniform"])

    def rows(self) -> list[dict[str, Any]]:
        """A row for each face, with its number."""
        return _face_rows(self.faces)


class Retrieval(Answer):
    """The faces of an image, largest first."""

    faces: list[MatchedFace]
    prior: Prior = Field("uniform", description=_PRIOR_OF, examples=["uniform"])

    def rows(self) -> list[dict[str, Any]]:
        """A row for each match, with the number and the emotion of its face."""
        return [
            {"face": number, "face_emotion": face.emotion, **row}
            for number, face in enumerate(self.faces)
            for row in face.rows()
        ]


class PointRetrieval(Matches):
    """The faces of the gallery nearest to a point of the space."""

    emotion: str = Field(description=_EMOTION_OF, examples=["happiness"])
    posterior: dict[str, Rounded] = Field(description=_POSTERIOR_OF, examples=[_POSTERIOR])
    prior: Prior = Field("uniform", description="Weights of the emotions in the posterior.", examples=["uniform"])
    embedding: list[float] = Field(description="The point that was searched for.", examples=[_EMBEDDING])


class ProblemImage(Answer):
    """An image of several that could not be answered; the others were."""

    problem: Problem


class Classifications(Answer):
    """One answer for each of several images, in their order."""

    images: list[Classification | ProblemImage]


class Retrievals(Answer):
    """One answer for each of several images, in their order."""

    images: list[Retrieval | ProblemImage]


class Embeddings(Answer):
    """One answer for each of several images, in their order."""

    images: list[Embedding | ProblemImage]


def _face_rows(faces: Sequence[Face]) -> list[dict[str, Any]]:
    return [{"face": number, **flatten(face.model_dump())} for number, face in enumerate(faces)]
