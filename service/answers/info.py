"""The answer about what is served, and its limits."""

from mien.service.answers.base import Answer


class ServedGallery(Answer):
    """The gallery that is searched."""

    faces: int
    read_only: bool
    keeps_thumbnails: bool


class TypicalDistance(Answer):
    """How far apart two faces of one emotion, and of different ones, are: the scale on which to read a distance."""

    same_emotion: float
    other_emotion: float


class Limits(Answer):
    """What a request may have."""

    images: int
    body_bytes: int
    faces: int
    k: int


class Info(Answer):
    """What is served."""

    gallery: ServedGallery
    emotions: list[str]
    sub_classes: dict[str, str]
    typical_distance: TypicalDistance
    limits: Limits
