"""Requests of the gallery's endpoints, and how faces and counts become answers."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from mien.index.errors import FaceFieldError
from mien.index.gallery.face import GalleryFace as StoredFace
from mien.index.gallery.filters import seconds_of
from mien.index.gallery.results import Statistics
from mien.index.gallery.validation import normal_id
from mien.service.answers.gallery import GalleryFace, GalleryStatistics, WholeFace
from mien.service.inference.gallery_additions import Addition
from mien.service.schemas.faces import FaceChoice, FaceQuery
from mien.service.schemas.json_text import MAX_CURSOR_LETTERS, cursor_error, read_cursor, write_cursor
from mien.service.schemas.strict import StrictModel

_ID = "holiday/0042"
_METADATA = {"camera": "hall", "album": {"year": 2026}}


class FaceFields(StrictModel):
    """The fields of a face that its user may set."""

    label: str | None = Field(None, description="The emotion that you give it.", examples=["happiness"])
    subject: str | None = Field(None, description="The person.", examples=["anna"])
    metadata: dict[str, Any] = Field({}, description="Anything: an object of up to 16 KiB.", examples=[_METADATA])
    time: float | str | None = Field(
        None, description="When it was taken: seconds since 1970 or ISO 8601. Without it, now.", examples=["2026-07-01"]
    )


class NewFace(FaceFields):
    """A face to add; in a form its image is a file, in JSON either an embedding or an image."""

    id: Annotated[str, AfterValidator(normal_id)] | None = Field(
        None,
        description="Unique in the gallery; without it, made from the content. It is brought into Unicode's normal "
        "form C, and has no invisible characters.",
        examples=[_ID],
    )
    embedding: list[Annotated[float, Field(allow_inf_nan=False)]] | None = Field(
        None, max_length=4096, fail_fast=True, description="As POST /embed answers it.", examples=[[0.12, -1.4, 0.7]]
    )
    image: str | None = Field(None, description="An image file in base64.")


class NewFaces(StrictModel):
    """The JSON body of an addition."""

    items: list[NewFace] = Field(min_length=1, max_length=10_000, fail_fast=True)


class FaceChanges(StrictModel):
    """The JSON body of a change (RFC 7396): other fields stay as they are, null removes a field."""

    label: str | None = Field(None, examples=["fear"])
    subject: str | None = Field(None, examples=["anna"])
    metadata: dict[str, Any] | None = Field(None, examples=[{"camera": None}])
    time: float | str | None = Field(None, examples=["2026-07-01T12:00:00Z"])


class AddingQuery(FaceQuery):
    """Parameters of an addition."""

    replace: bool = Field(default=False, description="Faces replace those with the same id and other content.")
    faces: FaceChoice = Field(
        default="largest",
        description="Which faces of an image: all (at most MIEN_MAX_FACES), the largest one, or the N largest. Further "
        "faces have the id of the first with #2, #3 and so on.",
        examples=["all"],
    )
    thumbnails: bool | None = Field(
        None, description="Keep a thumbnail of each face; without it, as MIEN_GALLERY_THUMBNAILS says."
    )


class ListingQuery(StrictModel):
    """Parameters of a listing."""

    limit: int = Field(100, ge=1, le=1000, description="Faces of a page.")
    after: str | None = Field(None, max_length=MAX_CURSOR_LETTERS, description="The `next` of the page before.")
    filter: str | None = Field(None, description="Which faces: a filter as JSON.", examples=['{"subject":"anna"}'])
    statistics: bool = Field(default=True, description="Whether to count faces per emotion and the like.")


class DeletionQuery(StrictModel):
    """Parameters of a deletion of several faces: exactly one of the two."""

    subject: str | None = Field(None, description="Everything of this person.", examples=["anna"])
    filter: str | None = Field(None, description="Everything that passes a filter, as JSON.")


class NoParameters(StrictModel):
    """Refuses every parameter."""


def addition(face: NewFace, image: bytes | None) -> Addition:
    """A face to add, with its image file; None where it has an embedding.

    Raises:
        FaceFieldError: its time cannot be read.
    """
    return Addition(
        image=image,
        embedding=face.embedding,
        id=face.id,
        label=face.label,
        subject=face.subject,
        metadata=face.metadata,
        time=None if face.time is None else seconds(face.time),
    )


def field_changes(changes: FaceChanges) -> dict[str, Any]:
    """The fields of a face that are changed, and their new values.

    Raises:
        FaceFieldError: the time cannot be read, or the metadata are null.
    """
    fields = {name: getattr(changes, name) for name in changes.model_fields_set}
    if fields.get("metadata", {}) is None:
        raise FaceFieldError("metadata can be changed, not removed: expected an object, got null")
    if fields.get("time") is not None:
        fields["time"] = seconds(fields["time"])
    return fields


def seconds(time: float | str) -> float:
    """A time as seconds since 1970.

    Raises:
        FaceFieldError: it cannot be read.
    """
    try:
        return seconds_of(time)
    except ValueError as error:
        raise FaceFieldError(f"time: {error}") from None


def gallery_face(face: StoredFace, sub_class_names: Mapping[str, str]) -> GalleryFace:
    """A face in a list."""
    return GalleryFace(**_fields(face, sub_class_names))


def whole_face(face: StoredFace, sub_class_names: Mapping[str, str]) -> WholeFace:
    """A face with its embedding and its thumbnail."""
    thumbnail = None if face.thumbnail is None else base64.b64encode(face.thumbnail).decode()
    return WholeFace(**_fields(face, sub_class_names), embedding=face.embedding.tolist(), thumbnail=thumbnail)


def gallery_statistics(statistics: Statistics) -> GalleryStatistics:
    """The answer for statistics."""
    counts = (statistics.emotions, statistics.labels, statistics.sub_classes)
    emotions, labels, sub_classes = ({name or "": number for name, number in each.items()} for each in counts)
    return GalleryStatistics(
        faces=statistics.faces,
        subjects=statistics.subjects,
        emotions=emotions,
        labels=labels,
        sub_classes=sub_classes,
    )


def listing_cursor(snapshot: int, face_id: str) -> str:
    """The ``after`` of the page of a listing that starts behind a face, in a state of the gallery."""
    return write_cursor([snapshot, face_id])


def read_listing_cursor(text: str) -> tuple[int, str]:
    """The snapshot number and the id of a ``listing_cursor``.

    Raises:
        QueryError: it is none.
    """
    match read_cursor(text):
        case [int(snapshot), str(face_id)] if 0 <= snapshot < 2**63:
            return snapshot, face_id
    raise cursor_error()


def _fields(face: StoredFace, sub_class_names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": face.id,
        "label": face.label,
        "emotion": face.emotion,
        "sub_class": face.sub_class,
        "sub_class_name": sub_class_names.get(face.sub_class or ""),
        "subject": face.subject,
        "metadata": face.metadata,
        "time": _iso(face.time),
        "content_sha256": face.content_sha256,
        "has_thumbnail": face.has_thumbnail,
    }


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):  # a year that datetime does not have
        return str(seconds)
