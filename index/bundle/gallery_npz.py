"""``gallery.npz``: the faces that ship with a bundle, as embeddings, labels and votes."""

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.npz import VOTE_COLUMNS_ARRAY, read_arrays, read_vote_columns
from mien.index.errors import BundleError, FaceFieldError
from mien.index.gallery.fixed_gallery import Entry, FixedGallery
from mien.index.gallery.validation import check_metadata
from mien.index.mixture.sub_classes import SubClasses
from mien.model.emotions import VOTE_COLUMNS

_SHAPES: Final = {
    "ids": "U n",
    "source": "U",
    "embeddings": "f n d",
    "labels": "iu n",
    "votes": "iu n v",
}


@dataclass(frozen=True)
class GalleryFaces:
    """The faces that ship with a bundle.

    Attributes:
        ids: (n,) unique names.
        embeddings: (n, d) float32.
        labels: (n,) int64 indices into the emotions.
        votes: (n, v) uint8 counts.
        source: metadata that all of them share, such as data set and split.
        vote_columns: (v,) what the votes are for.
    """

    ids: tuple[str, ...]
    embeddings: NDArray[np.float32]
    labels: NDArray[np.int64]
    votes: NDArray[np.uint8]
    source: dict[str, str]
    vote_columns: tuple[str, ...] = VOTE_COLUMNS


def write_gallery(path: Path, faces: GalleryFaces, embedder_sha256: str) -> None:
    """Write faces that were embedded by the network with this digest."""
    np.savez_compressed(
        path,
        embedder_sha256=np.array(embedder_sha256),
        ids=np.array(faces.ids),
        embeddings=faces.embeddings,
        labels=faces.labels.astype(np.uint8),
        votes=faces.votes,
        vote_columns=np.array(faces.vote_columns),
        source=np.array(json.dumps(faces.source)),
    )


def read_gallery(path: Path, embedder_sha256: str, emotions: tuple[str, ...], size: int) -> GalleryFaces:
    """Read what ``write_gallery`` wrote.

    Args:
        path: the file.
        embedder_sha256: of the bundle's network.
        emotions: (c,) names, of the bundle's mixture.
        size: d, dimensions of an embedding.

    Raises:
        BundleError: the file is broken, or belongs to another network.
    """
    arrays = read_arrays(path, embedder_sha256, _SHAPES, optional=(VOTE_COLUMNS_ARRAY,), sizes={"d": size})
    count = len(arrays["ids"])
    if count == 0 or len(set(arrays["ids"].tolist())) != count:
        raise BundleError(f"{path}: ids must be one or more, all different")
    if arrays["labels"].min() < 0 or arrays["labels"].max() >= len(emotions):
        raise BundleError(f"{path}: labels must be from 0 to {len(emotions) - 1}, got up to {arrays['labels'].max()}")
    try:
        source = dict(json.loads(str(arrays["source"])))
        check_metadata(source, "every face")
    except (ValueError, TypeError, RecursionError):
        raise BundleError(f"{path}: source must be a JSON object") from None
    except FaceFieldError as error:
        raise BundleError(f"{path}: source becomes the metadata of each face: {error}") from None
    return GalleryFaces(
        tuple(arrays["ids"].tolist()),
        arrays["embeddings"].astype(np.float32),
        arrays["labels"].astype(np.int64),
        arrays["votes"].astype(np.uint8),
        source,
        read_vote_columns(path, arrays),
    )


def to_gallery(faces: GalleryFaces, emotions: tuple[str, ...], sub_classes: SubClasses | None = None) -> FixedGallery:
    """A searchable gallery; the votes become each face's metadata."""
    sub_class_of = {face: sub_classes.each[row].id for face, row in sub_classes.of_face.items()} if sub_classes else {}
    with _without_collections():
        entries = [
            Entry(
                face_id,
                emotions[label],
                {
                    **faces.source,
                    "votes": {name: int(count) for name, count in zip(faces.vote_columns, row, strict=True) if count},
                },
                sub_class=sub_class_of.get(face_id),
            )
            for face_id, label, row in zip(faces.ids, faces.labels.tolist(), faces.votes.tolist(), strict=True)
        ]
    return FixedGallery(entries, faces.embeddings)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Pause the garbage collector, which would look at tens of thousands of new entries over and over again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
