"""``gallery.npz``: the faces that ship with a bundle, as embeddings, labels and votes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.npz import read_arrays
from mien.index.errors import BundleError
from mien.index.gallery.fixed_gallery import Entry, FixedGallery
from mien.index.mixture.sub_classes import SubClasses
from mien.model.emotions import VOTE_COLUMNS

_SHAPES: Final = {
    "ids": "U n",
    "source": "U",
    "embeddings": "f n d",
    "labels": "iu n",
    "votes": f"iu n {len(VOTE_COLUMNS)}",
}


@dataclass(frozen=True)
class GalleryFaces:
    """The faces that ship with a bundle.

    Attributes:
        ids: (n,) unique names.
        embeddings: (n, d) float32.
        labels: (n,) int64 indices into the emotions.
        votes: (n, 10) uint8 counts, columns as in ``VOTE_COLUMNS``.
        source: metadata that all of them share, such as data set and split.
    """

    ids: tuple[str, ...]
    embeddings: NDArray[np.float32]
    labels: NDArray[np.int64]
    votes: NDArray[np.uint8]
    source: dict[str, str]


def write_gallery(path: Path, faces: GalleryFaces, embedder_sha256: str) -> None:
    """Write faces that were embedded by the network with this digest."""
    np.savez_compressed(
        path,
        embedder_sha256=np.array(embedder_sha256),
        ids=np.array(faces.ids),
        embeddings=faces.embeddings,
        labels=faces.labels.astype(np.uint8),
        votes=faces.votes,
        source=np.array(json.dumps(faces.source)),
    )


def read_gallery(path: Path, embedder_sha256: str, emotions: int, size: int) -> GalleryFaces:
    """Read what ``write_gallery`` wrote.

    Args:
        path: the file.
        embedder_sha256: of the bundle's network.
        emotions: c, how many the bundle's mixture has.
        size: d, dimensions of an embedding.

    Raises:
        BundleError: the file is broken, or belongs to another network.
    """
    arrays = read_arrays(path, embedder_sha256, _SHAPES, sizes={"d": size})
    count = len(arrays["ids"])
    if count == 0 or len(set(arrays["ids"].tolist())) != count:
        raise BundleError(f"{path}: ids must be one or more, all different")
    if arrays["labels"].min() < 0 or arrays["labels"].max() >= emotions:
        raise BundleError(f"{path}: labels must be from 0 to {emotions - 1}, got up to {arrays['labels'].max()}")
    try:
        source = dict(json.loads(str(arrays["source"])))
    except (ValueError, TypeError):
        raise BundleError(f"{path}: source must be a JSON object") from None
    return GalleryFaces(
        tuple(arrays["ids"].tolist()),
        arrays["embeddings"].astype(np.float32),
        arrays["labels"].astype(np.int64),
        arrays["votes"].astype(np.uint8),
        source,
    )


def to_gallery(faces: GalleryFaces, emotions: tuple[str, ...], sub_classes: SubClasses | None = None) -> FixedGallery:
    """A searchable gallery; the votes become each face's metadata."""
    sub_class_of = {face: sub_classes.each[row].id for face, row in sub_classes.of_face.items()} if sub_classes else {}
    entries = [
        Entry(
            face_id,
            emotions[label],
            {
                **faces.source,
                "votes": {name: int(count) for name, count in zip(VOTE_COLUMNS, row, strict=True) if count},
            },
            sub_class=sub_class_of.get(face_id),
        )
        for face_id, label, row in zip(faces.ids, faces.labels.tolist(), faces.votes.tolist(), strict=True)
    ]
    return FixedGallery(entries, faces.embeddings)
