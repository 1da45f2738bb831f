"""``demonstration.npz``: faces that are free to show, each with its thumbnail, source and attribution."""

import json
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from mien.index.bundle.npz import read_arrays
from mien.index.errors import BundleError, FaceFieldError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.validation import check_faces

# n faces, d dimensions, b bytes of all thumbnails, one after the other.
_SHAPES: Final = {"ids": "U n", "embeddings": "f n d", "fields": "U n", "thumbnails": "iu b", "ends": "iu n"}

_FIELDS: Final = ("label", "subject", "metadata", "content_sha256")


def write_demonstration(path: Path, faces: Sequence[GalleryFace], embedder_sha256: str) -> None:
    """Write faces with thumbnails that were embedded by the network with this digest."""
    thumbnails = [face.thumbnail or b"" for face in faces]
    np.savez_compressed(
        path,
        embedder_sha256=np.array(embedder_sha256),
        ids=np.array([face.id for face in faces]),
        embeddings=np.stack([face.embedding for face in faces]),
        fields=np.array([json.dumps({name: getattr(face, name) for name in _FIELDS}) for face in faces]),
        thumbnails=np.frombuffer(b"".join(thumbnails), dtype=np.uint8),
        ends=np.cumsum([len(each) for each in thumbnails]),
    )


def read_demonstration(path: Path, embedder_sha256: str, size: int, taken: Container[str]) -> tuple[GalleryFace, ...]:
    """Read what ``write_demonstration`` wrote.

    Args:
        path: the file.
        embedder_sha256: of the bundle's network.
        size: d, dimensions of an embedding.
        taken: ids that the faces must not have.

    Raises:
        BundleError: the file is broken, or belongs to another network.
    """
    arrays = read_arrays(path, embedder_sha256, _SHAPES, sizes={"d": size})
    pictures, ends = arrays["thumbnails"].astype(np.uint8).tobytes(), arrays["ends"].tolist()
    starts = [0, *ends[:-1]]
    try:
        faces = tuple(
            GalleryFace(
                face_id,
                embedding,
                thumbnail=pictures[start:end],
                **{name: value for name, value in json.loads(fields).items() if name in _FIELDS},
            )
            for face_id, embedding, fields, start, end in zip(
                arrays["ids"].tolist(),
                arrays["embeddings"].astype(np.float32),
                arrays["fields"].tolist(),
                starts,
                ends,
                strict=True,
            )
        )
        check_faces(faces, size)
    except (ValueError, TypeError, AttributeError, RecursionError, FaceFieldError) as error:
        raise BundleError(f"{path} is broken: {error}") from None
    clash = next((face.id for face in faces if face.id in taken), None)
    if clash is not None:
        raise BundleError(f"{path}: the id {clash!r} is that of another face of the bundle")
    return faces
