"""What a gallery returns: matches, pages, counts and samples of its faces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.face import GalleryFace


@dataclass(frozen=True)
class GalleryMatch:
    """A face near to a query.

    Attributes:
        face: without its thumbnail.
        distance: Euclidean, in embedding units; smaller is nearer.
    """

    face: GalleryFace
    distance: float


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        matches: (q,) lists, nearest first, equal distances by id.
        snapshot: the snapshot number that was searched, for the next page.
        exact: whether the matches are surely the nearest; approximate search may have missed some.
    """

    matches: list[list[GalleryMatch]]
    snapshot: int
    exact: bool = True


@dataclass(frozen=True)
class AddResult:
    """The result of one ``add``, in the order of its faces.

    Attributes:
        added: ids that are new.
        replaced: ids that had other content before.
        unchanged: ids that were in the gallery already with the same content.
    """

    added: tuple[str, ...]
    replaced: tuple[str, ...]
    unchanged: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """A page of a gallery.

    Attributes:
        faces: by id, without thumbnails.
        snapshot: the snapshot number that was listed, for the next page.
        next_after: the id that the next page starts after; None on the last page.
    """

    faces: list[GalleryFace]
    snapshot: int
    next_after: str | None


@dataclass(frozen=True)
class Statistics:
    """Counts of the faces of a gallery; faces without a field count under None.

    Attributes:
        faces: all of them.
        subjects: distinct subjects.
        emotions: emotion to faces.
        labels: label to faces.
        sub_classes: id of the sub-class to faces.
    """

    faces: int
    subjects: int
    emotions: Mapping[str | None, int]
    labels: Mapping[str | None, int]
    sub_classes: Mapping[str | None, int]


@dataclass(frozen=True, eq=False)
class Sample:
    """Some faces of a gallery, or all.

    Attributes:
        ids: (n,) of the faces.
        embeddings: (n, d) float32.
        emotions: (n,) the label of each or, without one, its emotion; None without both.
        faces: how many the gallery has, at least n.
    """

    ids: Sequence[str]
    embeddings: NDArray[np.float32]
    emotions: Sequence[str | None]
    faces: int


def draw_sample(keys: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Draw some of n faces evenly; returns their rows, ascending.

    Each key is hashed, and the faces with the lowest hashes are drawn. So the sample is even whatever the keys mean,
    and while a gallery grows, a face stays in it until another takes its place.

    Reference for the hash: Steele, Lea, Flood: *Fast Splittable Pseudorandom Number Generators*, 2014.

    Args:
        keys: (n,) one number for each face, such as its sequence number.
        size: of the sample.
    """
    if len(keys) <= size:
        return np.arange(len(keys), dtype=np.int64)
    hashes = keys.astype(np.uint64)
    with np.errstate(over="ignore"):
        hashes += np.uint64(0x9E3779B97F4A7C15)
        hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashes ^= hashes >> np.uint64(31)
    return np.sort(np.argpartition(hashes, size)[:size]).astype(np.int64)
