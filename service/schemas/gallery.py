"""What the gallery's endpoints take and answer, with examples."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mien.index.gallery.face import GalleryFace
from mien.index.gallery.results import Statistics

_ID = "holiday/0042"
_METADATA = {"camera": "hall", "album": {"year": 2026}}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SaidOfFace(_Strict):
    """What an owner says of a face."""

    label: str | None = Field(None, description="The emotion it shows, as its owner says.", examples=["happiness"])
    subject: str | None = Field(None, description="The person.", examples=["anna"])
    metadata: dict[str, Any] = Field({}, description="Anything: an object of up to 16 KiB.", examples=[_METADATA])
    time: float | str | None = Field(
        None, description="When it was taken: seconds since 1970 or ISO 8601. Without it, now.", examples=["2026-07-01"]
    )


class NewFace(SaidOfFace):
    """A face to add; in a form its image is a file, in JSON either an embedding or an image."""

    id: str | None = Field(
        None, description="Unique in the gallery; without it, made from the content.", examples=[_ID]
    )
    embedding: list[Annotated[float, Field(allow_inf_nan=False)]] | None = Field(
        None, max_length=4096, description="As POST /embed answers it.", examples=[[0.12, -1.4, 0.7]]
    )
    image: str | None = Field(None, description="An image file in base64; its largest face is added.")


class NewFaces(_Strict):
    """The JSON body of an addition."""

    items: list[NewFace] = Field(min_length=1, max_length=10_000)


class FaceChanges(_Strict):
    """The JSON body of a change (RFC 7396): what is not named stays, null takes away."""

    label: str | None = Field(None, examples=["fear"])
    subject: str | None = Field(None, examples=["anna"])
    metadata: dict[str, Any] | None = Field(None, examples=[{"camera": None}])
    time: float | str | None = Field(None, examples=["2026-07-01T12:00:00Z"])


class AddingQuery(_Strict):
    """Parameters of an addition."""

    replace: bool = Field(default=False, description="Faces whose id is there with other content take its place.")
    already_cropped: bool = Field(default=False, description="The images are face crops: nothing is detected.")


class ListingQuery(_Strict):
    """Parameters of a listing."""

    limit: int = Field(100, ge=1, le=1000, description="Faces of a page.")
    after: str | None = Field(None, max_length=2000, description="The `next` of the page before.")
    filter: str | None = Field(None, description="Which faces: a filter as JSON.", examples=['{"subject":"anna"}'])
    statistics: bool = Field(default=True, description="Whether to count faces per emotion and the like.")


class DeletionQuery(_Strict):
    """Parameters of a deletion of many: one of the two."""

    subject: str | None = Field(None, description="Everything of this person.", examples=["anna"])
    filter: str | None = Field(None, description="Everything that passes a filter, as JSON.")


class FaceQuery(_Strict):
    """Parameters of an endpoint that takes none."""


class AddedFaces(BaseModel):
    """What became of an addition."""

    ids: list[str] = Field(description="Of all faces, in the order in which they came.", examples=[[_ID]])
    added: int = Field(description="Faces that are new.", examples=[1])
    replaced: int = Field(description="Faces that had other content before.", examples=[0])
    unchanged: int = Field(description="Faces that were there already.", examples=[0])


class FaceOfGallery(BaseModel):
    """A face of the gallery."""

    id: str = Field(examples=[_ID])
    label: str | None = Field(examples=["happiness"])
    emotion: str | None = Field(description="What the mixture named when it was added.", examples=["happiness"])
    sub_class: str | None = Field(examples=["happiness/2"])
    subject: str | None = Field(examples=["anna"])
    metadata: dict[str, Any] = Field(examples=[_METADATA])
    time: str | None = Field(description="ISO 8601, UTC.", examples=["2026-07-01T00:00:00+00:00"])
    content_sha256: str | None = Field(description="Of the image file it came from.", examples=["9f86d081..."])


class WholeFace(FaceOfGallery):
    """A face with all that is kept of it."""

    embedding: list[float] = Field(examples=[[0.12, -1.4, 0.7]])
    thumbnail: str | None = Field(description="The aligned crop, as a PNG file in base64.", examples=["iVBORw0K..."])


class GalleryStatistics(BaseModel):
    """How many faces there are of what; without the field they count under an empty name."""

    faces: int = Field(examples=[28385])
    subjects: int = Field(examples=[120])
    emotions: dict[str, int] = Field(examples=[{"happiness": 7215}])
    labels: dict[str, int] = Field(examples=[{"happiness": 7000, "": 215}])
    sub_classes: dict[str, int] = Field(examples=[{"happiness/2": 1200}])


class GalleryPage(BaseModel):
    """A page of the gallery, by id."""

    count: int = Field(description="Faces that pass the filter, on all pages.", examples=[28385])
    read_only: bool = Field(description="Whether it takes no writes: the gallery that ships.", examples=[False])
    faces: list[FaceOfGallery]
    next: str | None = Field(description="`after` of the next page; null on the last.", examples=["WzEyLCAiYSJd"])
    statistics: GalleryStatistics | None


class Deleted(BaseModel):
    """What became of a deletion."""

    deleted: int = Field(examples=[12])


def face_words(face: GalleryFace) -> dict[str, Any]:
    """The fields of ``FaceOfGallery``."""
    return {
        "id": face.id,
        "label": face.label,
        "emotion": face.emotion,
        "sub_class": face.sub_class,
        "subject": face.subject,
        "metadata": face.metadata,
        "time": _iso(face.time),
        "content_sha256": face.content_sha256,
    }


def statistics_words(statistics: Statistics) -> GalleryStatistics:
    """Statistics as they are answered."""
    counts = (statistics.emotions, statistics.labels, statistics.sub_classes)
    emotions, labels, sub_classes = ({name or "": number for name, number in each.items()} for each in counts)
    return GalleryStatistics(
        faces=statistics.faces,
        subjects=statistics.subjects,
        emotions=emotions,
        labels=labels,
        sub_classes=sub_classes,
    )


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):  # a year that has no date
        return str(seconds)
