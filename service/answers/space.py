"""Answers about the space: explanations, the map and the atlas."""

from __future__ import annotations

from typing import Any

from mien.service.answers.base import Answer, flatten

Heat = list[list[float]]
"""Rows from the top, each from the left."""


class MatchPicture(Answer):
    """A match as the network sees it (a PNG file in base64), and its heat."""

    crop: str
    heat: Heat


class EmotionDirection(Answer):
    """The share of an emotion in the distance between two faces."""

    emotion: str
    share: float
    more: bool


class MatchExplanation(Answer):
    """What a face and a match have in common, and what separates them."""

    id: str
    distance: float
    query_emotion: str
    query_sub_class: str | None
    query_sub_class_name: str | None = None
    emotion: str
    sub_class: str | None
    sub_class_name: str | None = None
    label: str | None
    query_posterior: dict[str, float]
    posterior: dict[str, float]
    overlap: float
    directions: list[EmotionDirection]
    unexplained: float
    heat: Heat | None
    picture: MatchPicture | None


class Explanation(Answer):
    """What the emotion of a face rests on; the service's /docs explain the fields."""

    emotion: str
    probability: float
    heat: Heat | None
    crop: str | None
    match: MatchExplanation | None = None


class MapRegion(Answer):
    """A Gaussian as an ellipse."""

    id: str
    name: str | None = None
    x: float
    y: float
    long: float
    short: float
    turn: float


class Map(Answer):
    """The space in two dimensions: a point z is shown at axes (z - middle)."""

    middle: list[float]
    axes: list[list[float]]
    emotions: list[MapRegion]
    sub_classes: list[MapRegion]
    faces: int
    owned: bool
    ids: list[str]
    x: list[float]
    y: list[float]
    emotion: list[int]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each face that is shown."""
        return [
            {"id": face, "x": x, "y": y, "emotion": self.emotions[emotion].id}
            for face, x, y, emotion in zip(self.ids, self.x, self.y, self.emotion, strict=True)
        ]


class NearestFace(Answer):
    """A face of the gallery near a centroid."""

    id: str
    distance: float


class AtlasRegion(Answer):
    """An emotion, or a sub-class of one."""

    id: str
    name: str | None = None
    description: str | None = None
    faces: int
    share: float
    votes: dict[str, float]
    nearest: list[NearestFace]
    sub_classes: list[AtlasRegion]

    def rows(self) -> list[dict[str, Any]]:
        """A row for the region, then one for each sub-class."""
        own = flatten(self.model_dump(exclude={"nearest", "sub_classes"}))
        return [own, *(row for each in self.sub_classes for row in each.rows())]


class Atlas(Answer):
    """Every emotion and sub-class."""

    faces: int
    owned: bool
    portraits: bool
    emotions: list[AtlasRegion]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each emotion and sub-class."""
        return [row for each in self.emotions for row in each.rows()]
