"""The atlas: each emotion and sub-class with its share, how raters voted, and the faces nearest to its centroid."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle
from mien.index.gallery.filters import Comparison
from mien.index.gallery.store import GalleryStore, SearchOptions
from mien.model.emotions import vote_columns

NEAREST: Final = 8
"""Faces nearest to the centroid that a region lists."""


class NearFace(NamedTuple):
    """A face near a centroid, its distance from it in embedding units, and its metadata."""

    id: str
    distance: float
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Region:
    """An emotion, or one of its sub-classes.

    Attributes:
        id: the emotion, or the sub-class, such as ``happiness/2``.
        emotion: the emotion that it is or belongs to.
        name: of a sub-class in words, such as ``happiness/closed smile``; None for an emotion, or without one.
        description: of a sub-class in a sentence.
        centroid: (d,) mean.
        covariance: (d, d) of its faces.
        faces: how many of a gallery the mixture gives this.
        share: of the gallery's faces that have it.
        votes: mean share of the raters' votes for each of ``vote_columns`` that any rater gave, over the faces of the
            bundle's gallery with this label.
        nearest: such faces, nearest to the centroid first.
    """

    id: str
    emotion: str
    centroid: NDArray[np.float64]
    covariance: NDArray[np.float64]
    name: str | None = None
    description: str | None = None
    faces: int = 0
    share: float = 0.0
    votes: dict[str, float] = field(default_factory=dict)
    nearest: tuple[NearFace, ...] = ()


def emotion_regions(bundle: Bundle) -> list[Region]:
    """The emotions of a bundle, in the order of its mixture."""
    mixture = bundle.mixture
    members: dict[str, list[int]] = {emotion: [] for emotion in mixture.emotions}
    for row, entry in enumerate(bundle.gallery.entries):
        members.setdefault(entry.emotion, []).append(row)
    return [
        Region(emotion, emotion, centroid, covariance, votes=_votes(bundle, members[emotion]))
        for emotion, centroid, covariance in zip(mixture.emotions, mixture.centroids, mixture.covariances, strict=True)
    ]


def sub_class_regions(bundle: Bundle) -> list[Region]:
    """The sub-classes of a bundle, in its order; an empty list where it has none."""
    sub_classes = bundle.sub_classes
    if sub_classes is None:
        return []
    members: list[list[int]] = [[] for _ in sub_classes.each]
    for row, entry in enumerate(bundle.gallery.entries):
        if entry.id in sub_classes.of_face:
            members[sub_classes.of_face[entry.id]].append(row)
    return [
        Region(
            each.id,
            each.emotion,
            each.centroid,
            each.covariance,
            sub_classes.names.get(each.id),
            each.description,
            votes=_votes(bundle, rows),
        )
        for each, rows in zip(sub_classes.each, members, strict=True)
    ]


def regions_in(regions: Iterable[Region], store: GalleryStore) -> list[Region]:
    """The same regions, with the counts, shares and nearest faces of a gallery: by what the mixture gives each face."""
    faces = store.count()
    counted = []
    for region in regions:
        own = Comparison(("emotion" if region.id == region.emotion else "sub_class",), "eq", region.id)
        count = store.count(own)
        (matches,) = store.search(region.centroid[None].astype(np.float32), NEAREST, SearchOptions(filter=own)).matches
        nearest = tuple(NearFace(match.face.id, match.distance, match.face.metadata) for match in matches)
        counted.append(replace(region, faces=count, share=count / faces if faces else 0.0, nearest=nearest))
    return counted


def _votes(bundle: Bundle, rows: list[int]) -> dict[str, float]:
    shares: Counter[str] = Counter()
    faces = 0
    for row in rows:
        votes = bundle.gallery.entries[row].metadata.get("votes") or {}
        count = sum(votes.values())
        if count:
            faces += 1
            shares.update({name: votes_for / count for name, votes_for in votes.items()})
    names = dict.fromkeys((*vote_columns(bundle.mixture.emotions), *shares))
    return {name: shares[name] / faces for name in names if name in shares}
