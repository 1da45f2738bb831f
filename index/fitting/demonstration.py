"""``mien demonstration``: faces that are free to show, cut out of photographs and embedded by the network of a bundle.

They are faces of the plates of Charles Darwin, *The Expression of the Emotions in Man and Animals*, 1872 (public
domain), as listed in ``darwin.csv``, and the neutral and smiling faces of 20 people of the Face Research Lab London Set
(DeBruine and Jones 2017, CC BY 4.0).
"""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from mien.index.gallery.face import GalleryFace
from mien.model.errors import DatasetError, ImageError, reason_of
from mien.model.faces.decoding import decode_grey
from mien.model.faces.reader import Face
from mien.model.pipeline import Pipeline

DARWIN: Final = "darwin"
LONDON: Final = "london-faces"

_DARWIN_FACES: Final = Path(__file__).parent / "darwin.csv"
_DARWIN_SOURCE: Final = {
    "collection": "Darwin 1872",
    "attribution": "Charles Darwin, The Expression of the Emotions in Man and Animals, 1872",
    "licence": "public domain",
    "url": "https://www.gutenberg.org/ebooks/1227",
}
_LONDON_SOURCE: Final = {
    "collection": "London faces",
    "attribution": "Face Research Lab London Set, DeBruine & Jones (2017), CC BY 4.0",
    "licence": "CC BY 4.0",
    "url": "https://doi.org/10.6084/m9.figshare.5047666.v5",
}
_LONDON_CAPTIONS: Final = {"neutral": "A neutral face", "happiness": "A smiling face"}

_NEAR: Final = 0.03
"""How far from its place in ``darwin.csv`` the centre of a face may be found, as a share of the plate."""

_MAX_FACES: Final = 50


@dataclass(frozen=True)
class _Listed:
    """A face to be found: in which file, and where (shares of width and height; None takes the largest)."""

    file: Path
    place: tuple[float, float] | None
    fields: dict[str, Any]


def read_demonstration_faces(data: Path, pipeline: Pipeline) -> list[GalleryFace]:
    """Find, cut out and embed the faces.

    Args:
        data: the folder with the folders ``darwin`` and ``london-faces``.
        pipeline: of the bundle's network.

    Raises:
        DatasetError: a file is missing or cannot be used, or a face is not found.
    """
    found: dict[Path, tuple[str, list[Face], tuple[int, int]]] = {}
    pairs = []
    for listed in (*_darwin(data / DARWIN), *_london(data / LONDON)):
        if listed.file not in found:
            found = {listed.file: _read(listed.file, pipeline)}
        content, faces, size = found[listed.file]
        face = faces[0] if listed.place is None else _face_at(listed, faces, size)
        pairs.append((face, content, listed))
    embeddings = pipeline.embed([face for face, _, _ in pairs])
    return [
        GalleryFace(embedding=embedding, content_sha256=content, thumbnail=face.thumbnail, **listed.fields)
        for (face, content, listed), embedding in zip(pairs, embeddings, strict=True)
    ]


def _read(file: Path, pipeline: Pipeline) -> tuple[str, list[Face], tuple[int, int]]:
    """The SHA-256 of a file, its faces, and its width and height."""
    try:
        data = file.read_bytes()
        return hashlib.sha256(data).hexdigest(), pipeline.read_faces(data, thumbnails=_MAX_FACES), _size(data)
    except (ImageError, OSError) as error:
        raise DatasetError(f"{file}: {reason_of(error)}") from None


def _size(data: bytes) -> tuple[int, int]:
    height, width = decode_grey(data).shape
    return width, height


def _face_at(listed: _Listed, faces: list[Face], size: tuple[int, int]) -> Face:
    """The face whose centre is nearest to the place where it is listed."""

    def distance(face: Face) -> float:
        x, y, width, height = face.box
        centre = np.array([(x + width / 2) / size[0], (y + height / 2) / size[1]])
        return float(np.linalg.norm(centre - np.array(listed.place)))

    nearest = min(faces, key=distance)
    if distance(nearest) > _NEAR:
        raise DatasetError(f"{listed.file}: expected a face at {listed.place} ({listed.fields['id']}), found none")
    return nearest


def _darwin(folder: Path) -> Iterator[_Listed]:
    with _DARWIN_FACES.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            metadata = {name: row[name] for name in ("caption", "figure", "photographer") if row[name]}
            fields = {
                "id": row["id"],
                "label": row["label"] or None,
                "subject": row["subject"] or None,
                "metadata": metadata | _DARWIN_SOURCE,
            }
            yield _Listed(folder / row["file"], (float(row["x"]), float(row["y"])), fields)


def _london(folder: Path) -> Iterator[_Listed]:
    try:
        with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DatasetError(f"{folder}: {error.strerror}") from None
    for row in rows:
        fields = {
            "id": f"london/{row['subject']}/{row['label']}",
            "label": row["label"],
            "subject": f"london/{row['subject']}",
            "metadata": {"caption": _LONDON_CAPTIONS[row["label"]]} | _LONDON_SOURCE,
        }
        yield _Listed(folder / row["image"], None, fields)
