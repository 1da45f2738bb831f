"""Parameters of the requests for faces, and how a prediction becomes an answer."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from mien.index.gallery.results import GalleryMatch
from mien.index.gallery.summary import Summary
from mien.service.answers.faces import (
    Classification,
    EmbeddedFace,
    Embedding,
    Face,
    FoundMatch,
    MatchedFace,
    MatchSummary,
    PointRetrieval,
    Quality,
    Retrieval,
    SubClassMatches,
)
from mien.service.inference.prediction import Prediction
from mien.service.schemas.reasons import reasons
from mien.service.schemas.retrieval import RetrievalOptions, cursor
from mien.service.schemas.strict import MAX_COUNT, PriorOption, StrictModel

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


class ClassificationQuery(FaceQuery, PriorOption):
    """Parameters of a classification."""


class RetrievalQuery(ClassificationQuery, RetrievalOptions):
    """Parameters of a retrieval by image."""

    filter: str | None = Field(
        None, description="Which faces may match: a filter as JSON.", examples=['{"emotion":"fear"}']
    )
    k: int = Field(
        10, ge=1, le=MAX_COUNT, description="How many matches for each face; at most MIEN_MAX_K.", examples=[10]
    )


def classification(prediction: Prediction) -> Classification:
    """The emotion of each face."""
    faces = [Face(**_face(prediction, row)) for row in range(len(prediction.faces))]
    return Classification(prior=prediction.prior, faces=faces)


def embedding(prediction: Prediction) -> Embedding:
    """Each face with its point in the embedding space."""
    points = prediction.embeddings.tolist()
    faces = [EmbeddedFace(**_face(prediction, row), embedding=point) for row, point in enumerate(points)]
    return Embedding(prior=prediction.prior, faces=faces)


def retrieval(prediction: Prediction) -> Retrieval:
    """The gallery's nearest expressions for each face."""
    points = prediction.embeddings.tolist()
    faces = [
        MatchedFace(**_face(prediction, row), embedding=point, **_matches(prediction, row))
        for row, point in enumerate(points)
    ]
    return Retrieval(prior=prediction.prior, faces=faces)


def _face(prediction: Prediction, row: int) -> dict[str, Any]:
    """The fields of a ``Face``."""
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
        prior=prediction.prior,
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
