"""Answers about the faces of images, and about points."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mien.service.answers.base import Answer, flatten


class Quality(Answer):
    """What limits how well an expression can be read."""

    face_px: float
    sharpness: float
    yaw: float | None
    pitch: float | None
    roll: float | None
    outside: float


class Face(Answer):
    """A face and its emotion: docs/answers.md explains the fields."""

    box: tuple[float, float, float, float]
    detection: float | None
    emotion: str
    posterior: dict[str, float]
    sub_class: str | None = None
    sub_class_name: str | None = None
    distance: float
    typicality: float
    known: bool
    intensity: float | None = None
    quality: Quality | None = None  # None: an older service
    reasons: list[str] = Field(default_factory=list)


class FoundMatch(Answer):
    """A face of the gallery, and its distance to the query."""

    id: str
    distance: float
    label: str | None = None
    emotion: str | None = None
    metadata: dict[str, Any]
    subject: str | None = None
    sub_class: str | None = None
    sub_class_name: str | None = None
    has_thumbnail: bool = False


class SubClassMatches(Answer):
    """The nearest faces of one sub-class, counted."""

    emotion: str | None
    sub_class: str | None
    sub_class_name: str | None = None
    faces: int
    share: float
    nearest: float
    votes: dict[str, float]


class MatchSummary(Answer):
    """The nearest faces, counted by sub-class."""

    faces: int
    farthest: float | None
    sub_classes: list[SubClassMatches]


class Matches(Answer):
    """The gallery's nearest expressions; photographs and summary where they were asked for."""

    matches: list[FoundMatch]
    next: str | None = None
    photographs: list[FoundMatch] | None = None
    summary: MatchSummary | None = None


class EmbeddedFace(Face):
    """A face, its emotion, and its point in the space."""

    embedding: list[float]


class MatchedFace(Matches, EmbeddedFace):
    """A face, its emotion, its point in the space, and the gallery's nearest expressions."""


class Classification(Answer):
    """The faces of an image, largest first."""

    faces: list[Face]
    prior: str = "uniform"

    def rows(self) -> list[dict[str, Any]]:
        """A row for each face, with its number."""
        return [{"face": number, **flatten(face.model_dump())} for number, face in enumerate(self.faces)]


class Retrieval(Answer):
    """The faces of an image, largest first."""

    faces: list[MatchedFace]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each match, with the number and the emotion of its face."""
        return [
            {"face": number, "face_emotion": face.emotion, **row}
            for number, face in enumerate(self.faces)
            for row in _match_rows(face.matches)
        ]


class Embedding(Answer):
    """The faces of an image, largest first."""

    faces: list[EmbeddedFace]
    prior: str = "uniform"

    def rows(self) -> list[dict[str, Any]]:
        """A row for each face, with its number."""
        return [{"face": number, **flatten(face.model_dump())} for number, face in enumerate(self.faces)]


class PointRetrieval(Matches):
    """The faces of the gallery nearest to a point of the space."""

    emotion: str
    posterior: dict[str, float]
    embedding: list[float]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each match."""
        return _match_rows(self.matches)


def _match_rows(matches: list[FoundMatch]) -> list[dict[str, Any]]:
    return [{"rank": rank, **match.model_dump()} for rank, match in enumerate(matches, 1)]
