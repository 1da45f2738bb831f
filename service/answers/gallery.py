"""Answers about a gallery: its faces, what was added, changed and deleted, and counts."""

from typing import Any, Final

from pydantic import Field

from mien.service.answers.base import Answer

_ID: Final = "holiday/0042"


class GalleryFace(Answer):
    """A face of the gallery."""

    id: str = Field(examples=[_ID])
    label: str | None = Field(None, examples=["happiness"])
    emotion: str | None = Field(None, description="The nearest emotion when it was added.", examples=["happiness"])
    sub_class: str | None = Field(None, examples=["happiness/2"])
    sub_class_name: str | None = Field(
        None, description="Its name in words, if it has one.", examples=["happiness/closed smile"]
    )
    subject: str | None = Field(None, examples=["anna"])
    metadata: dict[str, Any] = Field(default_factory=dict, examples=[{"camera": "hall", "album": {"year": 2026}}])
    time: str | None = Field(None, description="ISO 8601, UTC.", examples=["2026-07-01T00:00:00+00:00"])
    content_sha256: str | None = Field(None, description="Of the image file it came from.", examples=["9f86d081..."])
    has_thumbnail: bool = Field(
        default=False, description="Whether `GET /thumbnail` has a picture of it.", examples=[True]
    )


class WholeFace(GalleryFace):
    """A face of the gallery with all its fields."""

    embedding: list[float] = Field(examples=[[0.12, -1.4, 0.7]])
    thumbnail: str | None = Field(
        None, description="The aligned face, an image file (WebP or PNG) in base64.", examples=["UklGR..."]
    )


class GalleryStatistics(Answer):
    """Counts of the gallery's faces; faces without a field count under an empty name."""

    faces: int = Field(examples=[28385])
    subjects: int = Field(examples=[120])
    emotions: dict[str, int] = Field(examples=[{"happiness": 7215}])
    labels: dict[str, int] = Field(examples=[{"happiness": 7000, "": 215}])
    sub_classes: dict[str, int] = Field(examples=[{"happiness/2": 1200}])


class GalleryPage(Answer):
    """A page of the gallery, by id."""

    count: int = Field(description="Faces that pass the filter, on all pages.", examples=[28385])
    read_only: bool = Field(
        default=False, description="Whether it is the gallery that ships, which is read-only.", examples=[False]
    )
    faces: list[GalleryFace]
    next: str | None = Field(None, description="`after` of the next page; null on the last.", examples=["WzEyLCAiYSJd"])
    statistics: GalleryStatistics | None = None


class Added(Answer):
    """The ids of added faces, and how many are new, replaced another or were in the gallery already."""

    ids: list[str] = Field(description="Of all faces, in the order of the request.", examples=[[_ID]])
    added: int = Field(description="Faces that are new.", examples=[1])
    replaced: int = Field(description="Faces that replaced others.", examples=[0])
    unchanged: int = Field(description="Faces that were in the gallery already.", examples=[0])


class Deleted(Answer):
    """How many faces were deleted."""

    deleted: int = Field(examples=[12])


class Thumbnails(Answer):
    """Small images of faces."""

    thumbnails: dict[str, str] = Field(
        description="Image files (WebP or PNG) in base64, by the face's id; a face without one is left out.",
        examples=[{"holiday/0042": "UklGR..."}],
    )
