"""Faces to add to a gallery, out of a request: read, embedded and named."""

import asyncio
import hashlib
from collections.abc import Sequence
from io import BytesIO
from typing import Final

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from mien.index.errors import FaceFieldError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import seconds_of
from mien.index.gallery.validation import json_text
from mien.index.mixture.labelling import label_points
from mien.model.errors import ImageError, first_fault
from mien.service.errors import MalformedBodyError, MissingFieldError
from mien.service.inference.prediction import ImageQuery
from mien.service.inference.queue import LoadedEngine
from mien.service.inference.runtime import Runtime
from mien.service.routes import uploads
from mien.service.schemas.gallery import NewFace, NewFaces

ITEMS: Final = "items"
"""The field of a form that says what the images are: a JSON list, one object for each image."""

_ITEMS: Final = TypeAdapter(list[NewFace])
_NEW_FACES: Final = TypeAdapter(NewFaces)


async def read_additions(runtime: Runtime, request: Request) -> list[tuple[NewFace, bytes | None]]:
    """What is said of each face, and its image file, if that is what came.

    Raises:
        RequestError: the request cannot be read.
    """
    kind, most = uploads.content_type(request), runtime.settings.max_images
    if kind == uploads.FORM:
        images = await uploads.read_form(request, most)
        said = _items_of(images.texts.get(ITEMS), len(images.files))
        files = [image for image in images.files if isinstance(image, bytes)]
        return list(zip(said, files, strict=True))
    if kind != uploads.JSON:
        raise MissingFieldError(f"send faces as {uploads.JSON} or {uploads.FORM}, got {kind or 'no content type'}")
    sent = await uploads.read_json(request, _NEW_FACES)
    count = sum(item.image is not None for item in sent.items)
    uploads.check_count(count, most)
    additions: list[tuple[NewFace, bytes | None]] = []
    for row, item in enumerate(sent.items):
        if (item.image is None) == (item.embedding is None):
            raise MissingFieldError(f"items[{row}] should have either 'embedding' or 'image'")
        additions.append((item, None if item.image is None else _from_base64(item.image, row)))
    return additions


def _items_of(text: str | None, count: int) -> list[NewFace]:
    if text is None:
        return [NewFace() for _ in range(count)]
    try:
        said = _ITEMS.validate_json(text)
    except ValidationError as error:
        raise MalformedBodyError(f"the field '{ITEMS}' is not as /docs says: {first_fault(error)[:200]}") from None
    if len(said) != count:
        raise MissingFieldError(
            f"the field '{ITEMS}' should have one object for each of {count} images, got {len(said)}"
        )
    if any(item.embedding is not None or item.image is not None for item in said):
        raise MissingFieldError("in a form, the images are files: 'embedding' and 'image' are for a JSON body")
    return said


async def to_faces(
    runtime: Runtime, loaded: LoadedEngine, sent: Sequence[tuple[NewFace, bytes | None]], *, already_cropped: bool
) -> list[GalleryFace]:
    """Embed and name what was sent.

    Raises:
        ImageError: an image cannot be used, or has no face.
        FaceFieldError: an embedding or a time is none.
    """
    engine = loaded.engine

    async def embedded(row: int, image: bytes) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        try:
            prediction = await loaded.predict(ImageQuery(image, already_cropped, max_faces=1))
        except ImageError as error:
            if len(sent) == 1:
                raise
            raise type(error)(f"image {row}: {error}") from None
        return prediction.embeddings[0], prediction.faces[0].crop

    found = await asyncio.gather(*(embedded(row, image) for row, (_, image) in enumerate(sent) if image is not None))
    came = iter(found)
    size = engine.gallery.embedding_size
    faces = []
    for row, (item, image) in enumerate(sent):
        if image is not None:
            embedding, crop = next(came)
            thumbnail = to_png(crop) if runtime.settings.gallery_thumbnails else None
        else:
            embedding, thumbnail = np.array(item.embedding, dtype=np.float64), None
            if embedding.shape != (size,):
                raise FaceFieldError(f"items[{row}]: an embedding should have {size} numbers, got {embedding.size}")
            if np.abs(embedding).max() > 1e6:
                raise FaceFieldError(f"items[{row}]: an embedding should have numbers from -1e6 to 1e6")
            embedding = embedding.astype(np.float32)
        content = hashlib.sha256(image).hexdigest() if image is not None else None
        faces.append(
            GalleryFace(
                item.id if item.id is not None else _id_of(item, embedding, content),
                embedding,
                label=item.label,
                subject=item.subject,
                metadata=item.metadata,
                content_sha256=content,
                time=None if item.time is None else time_of(item.time),
                thumbnail=thumbnail,
            )
        )
    names = label_points(engine.bundle.mixture, engine.bundle.sub_classes, np.stack([face.embedding for face in faces]))
    return [
        GalleryFace(**(vars(face) | {"emotion": emotion, "sub_class": sub_class}))
        for face, (emotion, sub_class) in zip(faces, names, strict=True)
    ]


def _id_of(item: NewFace, embedding: NDArray[np.float32], content: str | None) -> str:
    """An id out of the content, so that the same face sent again has the same one."""
    if content is not None:
        return content[:32]
    try:
        said = json_text([item.label, item.subject, item.metadata])
    except ValueError as error:
        raise FaceFieldError(f"metadata should be JSON values: {error}") from None
    return hashlib.sha256(embedding.tobytes() + said.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _from_base64(text: str, row: int) -> bytes:
    try:
        return uploads.decode_base64(text)
    except ValueError:
        raise MalformedBodyError(f"items[{row}].image should be an image file in base64, got something else") from None


def to_png(crop: NDArray[np.uint8]) -> bytes:
    """A crop (h, w) uint8 as a PNG file."""
    buffer = BytesIO()
    Image.fromarray(crop).save(buffer, "PNG")
    return buffer.getvalue()


def time_of(value: float | str) -> float:
    """A time as seconds since 1970.

    Raises:
        FaceFieldError: it is none.
    """
    try:
        return seconds_of(value)
    except ValueError as error:
        raise FaceFieldError(f"time: {error}") from None
