"""Faces to add to a gallery: embeds their images, and labels them with the emotions of the mixture."""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import FaceFieldError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.validation import json_text
from mien.index.mixture.labelling import label_points
from mien.model.errors import ImageError
from mien.service.inference.prediction import ImageQuery, Prediction
from mien.service.inference.queue import LoadedEngine

MAX_EMBEDDING: Final = 1e6
"""Largest absolute value of a number of an embedding."""


@dataclass(frozen=True)
class Addition:
    """A face to add: its image or its embedding, of which exactly one is given, and the fields of ``GalleryFace``.

    Attributes:
        image: the image file; its largest face is added, or several.
        embedding: numbers, of any length.
        id: None takes a digest of the content.
        label: see ``GalleryFace``.
        subject: see ``GalleryFace``.
        metadata: see ``GalleryFace``.
        time: seconds since 1970; None takes the present.
    """

    image: bytes | None = None
    embedding: Sequence[float] | None = None
    id: str | None = None
    label: str | None = None
    subject: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    time: float | None = None


async def embed_additions(
    loaded: LoadedEngine,
    additions: Sequence[Addition],
    *,
    already_cropped: bool = False,
    max_faces: int | None = 1,
    thumbnails: bool = False,
) -> list[GalleryFace]:
    """Embed and label faces.

    Args:
        loaded: embeds and labels.
        additions: the faces.
        already_cropped: their images are face crops.
        max_faces: the largest faces of an image that are added; None adds all that the pipeline reads. Further faces
            have the id of the first, with their number (``numbered_id``).
        thumbnails: whether the faces get thumbnails.

    Returns:
        The faces, in the order of the additions, those of an image largest first.

    Raises:
        ImageError: an image cannot be used, or has no face.
        FaceFieldError: an embedding has another size than the gallery's, or metadata are no JSON values.
    """
    queries = [
        ImageQuery(each.image, already_cropped, max_faces, thumbnails=thumbnails)
        for each in additions
        if each.image is not None
    ]
    # In threads: thousands of faces with embeddings take half a second, which the event loop does not have.
    given = await asyncio.to_thread(_check_embeddings, additions, loaded.engine.gallery.embedding_size)
    predictions = await loaded.predict_all(queries)
    return await asyncio.to_thread(_label_faces, loaded, additions, given, predictions)


def _check_embeddings(additions: Sequence[Addition], size: int) -> list[NDArray[np.float32] | None]:
    """The embedding of each addition; None of an image."""
    return [
        _check_embedding(row, each.embedding or (), size) if each.image is None else None
        for row, each in enumerate(additions)
    ]


def _label_faces(
    loaded: LoadedEngine,
    additions: Sequence[Addition],
    given: Sequence[NDArray[np.float32] | None],
    of_images: Iterable[Prediction | ImageError],
) -> list[GalleryFace]:
    """The faces of additions, labelled; ``of_images`` has the predictions of those with an image."""
    predictions, faces = iter(of_images), []
    for row, (addition, embedding) in enumerate(zip(additions, given, strict=True)):
        if embedding is not None:
            faces.append(_gallery_face(addition, embedding, None))
            continue
        prediction = next(predictions)
        if isinstance(prediction, ImageError):
            raise prediction if len(additions) == 1 else type(prediction)(f"image {row}: {prediction}")
        faces += [
            _gallery_face(addition, point, face.thumbnail, number)
            for number, (face, point) in enumerate(zip(prediction.faces, prediction.embeddings, strict=True), 1)
        ]
    bundle = loaded.engine.bundle
    labels = label_points(bundle.mixture, bundle.sub_classes, np.stack([face.embedding for face in faces]))
    return [
        replace(face, emotion=emotion, sub_class=sub_class)
        for face, (emotion, sub_class) in zip(faces, labels, strict=True)
    ]


def numbered_id(face_id: str, number: int) -> str:
    """The id of the ``number``-th face of an image, from 1: ``a.jpg``, ``a.jpg#2``, ..."""
    return face_id if number == 1 else f"{face_id}#{number}"


def image_and_number(face_id: str) -> tuple[str, int]:
    """What ``numbered_id`` made an id of."""
    name, mark, number = face_id.rpartition("#")
    return (name, int(number)) if mark and number.isascii() and number.isdigit() and int(number) > 1 else (face_id, 1)


def _check_embedding(row: int, numbers: Sequence[float], size: int) -> NDArray[np.float32]:
    embedding = np.array(numbers, dtype=np.float64)
    if embedding.shape != (size,):
        raise FaceFieldError(f"items[{row}]: an embedding must have {size} numbers, got {embedding.size}")
    if np.abs(embedding).max() > MAX_EMBEDDING:
        raise FaceFieldError(f"items[{row}]: an embedding must have numbers from -1e6 to 1e6")
    return embedding.astype(np.float32)


def _gallery_face(
    addition: Addition, embedding: NDArray[np.float32], thumbnail: bytes | None, number: int = 1
) -> GalleryFace:
    content = None if addition.image is None else hashlib.sha256(addition.image).hexdigest()
    return GalleryFace(
        numbered_id(addition.id if addition.id is not None else _id_of(addition, embedding, content), number),
        embedding,
        label=addition.label,
        subject=addition.subject,
        metadata=addition.metadata,
        content_sha256=content,
        time=addition.time,
        thumbnail=thumbnail,
    )


def _id_of(addition: Addition, embedding: NDArray[np.float32], content: str | None) -> str:
    """An id made from the content, so that the same face sent again has the same id."""
    if content is not None:
        return content[:32]
    try:
        fields = json_text([addition.label, addition.subject, addition.metadata])
    except ValueError as error:
        raise FaceFieldError(f"metadata must be JSON values: {error}") from None
    return hashlib.sha256(embedding.tobytes() + fields.encode("utf-8", "surrogatepass")).hexdigest()[:32]
