"""Answers about a gallery: its faces, what was added, changed and deleted, and counts."""

from typing import Any

from pydantic import Field

from mien.service.answers.base import Answer


class GalleryFace(Answer):
    """A face of the gallery."""

    id: str
    label: str | None = None
    emotion: str | None = None
    sub_class: str | None = None
    sub_class_name: str | None = None
    subject: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    time: str | None = None
    content_sha256: str | None = None
    has_thumbnail: bool = False


class WholeFace(GalleryFace):
    """A face of the gallery with all its fields; the thumbnail is an image file (WebP or PNG) in base64."""

    embedding: list[float]
    thumbnail: str | None = None


class GalleryStatistics(Answer):
    """Counts of the gallery's faces; faces without a field count under an empty name."""

    faces: int
    subjects: int
    emotions: dict[str, int]
    labels: dict[str, int]
    sub_classes: dict[str, int]


class GalleryPage(Answer):
    """A page of the gallery."""

    count: int
    read_only: bool = False
    faces: list[GalleryFace]
    next: str | None = None
    statistics: GalleryStatistics | None = None


class Added(Answer):
    """The ids of added faces, and how many are new, replaced another or were in the gallery already."""

    ids: list[str]
    added: int
    replaced: int
    unchanged: int


class Deleted(Answer):
    """How many faces were deleted."""

    deleted: int


class Thumbnails(Answer):
    """Pictures of faces: the id of each that has one, and an image file (WebP or PNG) in base64."""

    thumbnails: dict[str, str]
