"""Answers about faces, and how a prediction becomes one of them; parameters of the requests for them."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, Field

from mien.index.gallery.results import GalleryMatch
from mien.index.gallery.summary import Summary
from mien.model.emotions import EMOTIONS, EmotionPrior
from mien.service.inference.prediction import Prediction
from mien.service.schemas.problem import Problem
from mien.service.schemas.quality import Quality, Reason, reasons
from mien.service.schemas.retrieval import RetrievalOptions, cursor
from mien.service.schemas.rounded import Pixels, Rounded
from mien.service.schemas.strict import MAX_COUNT, StrictModel

_BOX: Final = [412.5, 310.2, 508.0, 655.1]
_POSTERIOR: Final = dict(zip(EMOTIONS, (0.02, 0.9, 0.04, 0.01, 0.01, 0.01, 0.005, 0.005), strict=True))


_EMBEDDING: Final = [0.12, -1.4, 0.7]


FaceChoice = Literal["all", "largest"] | Annotated[int, Field(ge=1, le=MAX_COUNT)]
"""Which faces of an image, largest first."""


class FaceQuery(StrictModel):
    """Parameters of every endpoint that takes images; others are refused, so that a misspelt one is noticed."""

    already_cropped: bool = Field(
        default=False, description="The image is a face crop, framed from forehead to chin: nothing is detected."
    )
    faces: FaceChoice = Field(
        default="all",
        description="Which faces of an image: all (at most MIEN_MAX_FACES), the largest one, or the N largest.",
        examples=["largest"],
    )

    @property
    def max_faces(self) -> int | None:
        """How many faces of an image, largest first; None takes all."""
        return {"all": None, "largest": 1}[self.faces] if isinstance(self.faces, str) else self.faces


class ClassificationQuery(FaceQuery):
    """Parameters of a classification."""

    prior: EmotionPrior | None = Field(
        None,
        description="Weights of the emotions in the posterior: uniform, or data, their shares of the training faces; "
        "without it, MIEN_PRIOR.",
        examples=["uniform"],
    )


class RetrievalQuery(FaceQuery, RetrievalOptions):
    """Parameters of a retrieval by image."""

    filter: str | None = Field(
        None, description="Which faces may match: a filter as JSON.", examples=['{"emotion":"fear"}']
    )
    k: int = Field(
        10, ge=1, le=MAX_COUNT, description="How many matches for each face; at most MIEN_MAX_K.", examples=[10]
    )


_EMOTION: Final = "The likeliest emotion: that of the nearest Gaussian centroid, unless the prior is data."


class Box(BaseModel):
    """Where a face was found."""

    box: tuple[Pixels, Pixels, Pixels, Pixels] = Field(
        description="x, y, width and height in pixels of the upright image.", examples=[_BOX]
    )
    detection: Rounded | None = Field(
        description="The detector's score from 0 to 1; null for an image that was already cropped.", examples=[0.93]
    )
    emotion: str = Field(description=_EMOTION, examples=["happiness"])


class ClassifiedFace(Box):
    """A face and its emotion."""

    posterior: dict[str, Rounded] = Field(
        description="Probability of each emotion under the mixture; they sum to 1.", examples=[_POSTERIOR]
    )
    sub_class: str | None = Field(
        description="The likeliest sub-class of the emotion; null where the bundle has none.", examples=["happiness/2"]
    )
    sub_class_name: str | None = Field(
        description="Its name in words, if it has one.", examples=["happiness/closed smile"]
    )
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
        description="How strong the emotion is: the face's place on the line from neutral's centroid (0) to the "
        "emotion's (1), and beyond; null for neutral.",
        examples=[0.94],
    )
    quality: Quality
    reasons: list[Reason] = Field(
        description="Why the answer may be wrong; empty where nothing is.", examples=[["small", "blurred"]]
    )


class Classification(BaseModel):
    """The faces of an image, largest first."""

    faces: list[ClassifiedFace]
    prior: EmotionPrior = Field(description="Weights of the emotions in the posteriors.", examples=["uniform"])


class FoundMatch(BaseModel):
    """A face of the gallery."""

    id: str = Field(description="Its id in the gallery.", examples=["fer0012345"])
    distance: Rounded = Field(description="Euclidean distance to the query, in embedding units.", examples=[0.41])
    label: str | None = Field(
        None, description="The emotion that its owner gives it; of FER+, that of most raters.", examples=["happiness"]
    )
    emotion: str | None = Field(description="The emotion that the mixture gives it.", examples=["happiness"])
    metadata: dict[str, Any] = Field(
        description="Its other fields in the gallery.",
        examples=[{"dataset": "FER+", "split": "Training", "votes": {"happiness": 9, "neutral": 1}}],
    )
    subject: str | None = Field(None, description="The person, where known.", examples=["anna"])
    sub_class: str | None = Field(None, description="Of that emotion, where known.", examples=["happiness/2"])
    sub_class_name: str | None = Field(
        None, description="Its name in words, if it has one.", examples=["happiness/closed smile"]
    )
    has_thumbnail: bool = Field(
        default=False, description="Whether `GET /thumbnail` has a picture of it.", examples=[False]
    )


class SubClassMatches(BaseModel):
    """The nearest faces of one sub-class, counted."""

    emotion: str | None = Field(description="That the mixture gives them.", examples=["happiness"])
    sub_class: str | None = Field(description="Null where the bundle has none.", examples=["happiness/2"])
    sub_class_name: str | None = Field(
        description="Its name in words, if it has one.", examples=["happiness/closed smile"]
    )
    faces: int = Field(examples=[43])
    share: Rounded = Field(description="Of the faces that are counted.", examples=[0.43])
    nearest: Rounded = Field(description="Distance of the nearest.", examples=[0.41])
    votes: dict[str, Rounded] = Field(
        description="Mean shares of the raters' votes, over those that were voted on; empty without any.",
        examples=[{"happiness": 0.91, "neutral": 0.09}],
    )


class MatchSummary(BaseModel):
    """The nearest faces, counted by sub-class."""

    faces: int = Field(description="How many are counted: fewer than asked for if fewer pass.", examples=[100])
    farthest: Rounded | None = Field(description="Distance of the last; null without any.", examples=[2.31])
    sub_classes: list[SubClassMatches] = Field(description="With most faces first.")


class Matches(BaseModel):
    """The gallery's nearest expressions."""

    matches: list[FoundMatch] = Field(description="Nearest first.")
    next: str | None = Field(
        None, description="`after` of the next page; null if nothing matched.", examples=["WzEyLCAwLjQxLCAiYSJd"]
    )
    photographs: list[FoundMatch] | None = Field(
        None, description="The nearest that have a thumbnail; null unless asked for."
    )
    summary: MatchSummary | None = Field(None, description="Null unless asked for.")


class RetrievedFace(Matches, ClassifiedFace):
    """A face, its emotion, its point in the embedding space and the gallery's nearest expressions."""

    embedding: list[float] = Field(
        description="Its point in the embedding space of this bundle, not normalised.", examples=[_EMBEDDING]
    )


class Retrieval(BaseModel):
    """The faces of an image, largest first."""

    faces: list[RetrievedFace]


class EmbeddedFace(ClassifiedFace):
    """A face, all that /classify says of it, and its point in the embedding space."""

    embedding: list[float] = Field(
        description="Its point in the embedding space of this bundle, not normalised.", examples=[_EMBEDDING]
    )


class Embedding(BaseModel):
    """The faces of an image, largest first."""

    faces: list[EmbeddedFace]
    prior: EmotionPrior = Field(description="Weights of the emotions in the posteriors.", examples=["uniform"])


class ProblemImage(BaseModel):
    """An image of several that could not be answered; the others were."""

    problem: Problem


class Classifications(BaseModel):
    """One answer for each of several images, in their order."""

    images: list[Classification | ProblemImage]


class Retrievals(BaseModel):
    """One answer for each of several images, in their order."""

    images: list[Retrieval | ProblemImage]


class Embeddings(BaseModel):
    """One answer for each of several images, in their order."""

    images: list[Embedding | ProblemImage]


class PointRetrieval(Matches):
    """The gallery's nearest expressions to a point of the embedding space."""

    emotion: str = Field(description=_EMOTION, examples=["happiness"])
    posterior: dict[str, Rounded] = Field(
        description="Probability of each emotion under the mixture; they sum to 1.", examples=[_POSTERIOR]
    )
    embedding: list[float] = Field(description="The point that was searched for.", examples=[_EMBEDDING])


def classification(prediction: Prediction) -> Classification:
    """The emotion of each face."""
    faces = [ClassifiedFace(**_face(prediction, row)) for row in range(len(prediction.faces))]
    return Classification(prior=prediction.prior, faces=faces)


def embedding(prediction: Prediction) -> Embedding:
    """Each face with its point in the embedding space."""
    points = prediction.embeddings.tolist()
    faces = [EmbeddedFace(**_face(prediction, row), embedding=point) for row, point in enumerate(points)]
    return Embedding(prior=prediction.prior, faces=faces)


def retrieval(prediction: Prediction) -> Retrieval:
    """The gallery's nearest expressions for each face."""
    return Retrieval(
        faces=[
            RetrievedFace(**_face(prediction, row), embedding=point, **_matches(prediction, row))
            for row, point in enumerate(prediction.embeddings.tolist())
        ]
    )


def _face(prediction: Prediction, row: int) -> dict[str, Any]:
    """The fields of a ``ClassifiedFace``."""
    face, sub_class = prediction.faces[row], prediction.sub_classes[row]
    intensity = prediction.intensity[row]
    return {
        "box": face.box,
        "detection": face.detection,
        "emotion": prediction.emotion_of(row),
        "posterior": _posterior(prediction, row),
        "sub_class": sub_class,
        "sub_class_name": prediction.sub_class_names.get(sub_class or ""),
        "distance": prediction.distances[row, prediction.likeliest[row]],
        "typicality": prediction.typicality[row],
        "known": bool(prediction.known[row]),
        "intensity": None if np.isnan(intensity) else intensity,
        "quality": Quality(**vars(prediction.quality[row])),
        "reasons": reasons(prediction, row),
    }


def point_retrieval(prediction: Prediction) -> PointRetrieval:
    """The gallery's nearest expressions to the one point of a prediction."""
    return PointRetrieval(
        emotion=prediction.emotion_of(0),
        posterior=_posterior(prediction, 0),
        embedding=prediction.embeddings[0].tolist(),
        **_matches(prediction, 0),
    )


def _matches(prediction: Prediction, row: int) -> dict[str, Any]:
    found, names = prediction.found[row], prediction.sub_class_names
    return {
        "matches": [_match(match, names) for match in found.matches],
        "next": None if found.next_page is None else cursor(found.next_page),
        "photographs": None if found.photographs is None else [_match(match, names) for match in found.photographs],
        "summary": None if found.summary is None else _summary(found.summary, names),
    }


def _posterior(prediction: Prediction, row: int) -> dict[str, float]:
    return dict(zip(prediction.emotions, prediction.posteriors[row].tolist(), strict=True))


def _match(match: GalleryMatch, sub_class_names: Mapping[str, str]) -> FoundMatch:
    face = match.face
    return FoundMatch(
        id=face.id,
        distance=match.distance,
        label=face.label,
        emotion=face.emotion,
        metadata=dict(face.metadata),
        subject=face.subject,
        sub_class=face.sub_class,
        sub_class_name=sub_class_names.get(face.sub_class or ""),
        has_thumbnail=face.has_thumbnail,
    )


def _summary(summary: Summary, sub_class_names: Mapping[str, str]) -> MatchSummary:
    counts = [
        SubClassMatches(
            **vars(each), sub_class_name=sub_class_names.get(each.sub_class or ""), share=each.faces / summary.faces
        )
        for each in summary.sub_classes
    ]
    return MatchSummary(faces=summary.faces, farthest=summary.farthest, sub_classes=counts)
