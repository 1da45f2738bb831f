"""The atlas: each emotion and sub-class with its share, how raters voted, and the faces nearest to its centroid."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle
from mien.index.gallery.filters import AllOf, AnyOf, Comparison, Filter
from mien.index.gallery.store import GalleryStore, SearchOptions
from mien.model.emotions import VOTE_COLUMNS

NEAREST: Final = 8
"""Faces that are shown of each emotion."""


class Near(NamedTuple):
    """A face near a centroid, and how far it lies from it, in embedding units."""

    id: str
    distance: float


@dataclass(frozen=True)
class Region:
    """An emotion, or one of its sub-classes.

    Attributes:
        id: the emotion, or the sub-class, such as ``happiness/2``.
        emotion: what it is, or what it belongs to.
        centroid: (d,) its mean representative.
        covariance: (d, d) of its faces.
        faces: of the gallery that have this label.
        share: of the gallery's faces.
        votes: mean share of the raters' votes for each of ``VOTE_COLUMNS``, those that any rater gave; of the faces of
            the bundle's gallery, whatever gallery is looked at.
        nearest: gallery faces with this label, nearest to the centroid first.
    """

    id: str
    emotion: str
    centroid: NDArray[np.float64]
    covariance: NDArray[np.float64]
    faces: int
    share: float
    votes: dict[str, float]
    nearest: tuple[Near, ...]


def emotions_of(bundle: Bundle) -> list[Region]:
    """Each emotion of a bundle, in the order of its mixture."""
    gallery, mixture = bundle.gallery, bundle.mixture
    by_label: dict[str, list[int]] = {emotion: [] for emotion in mixture.emotions}
    for row, entry in enumerate(gallery.entries):
        by_label.setdefault(entry.emotion, []).append(row)
    regions = []
    for place, emotion in enumerate(mixture.emotions):
        rows, centroid = by_label[emotion], mixture.centroids[place]
        regions.append(
            Region(
                emotion,
                emotion,
                centroid,
                mixture.covariances[place],
                len(rows),
                len(rows) / len(gallery),
                _votes(bundle, rows),
                _nearest(bundle, rows, centroid),
            )
        )
    return regions


def sub_classes_of(bundle: Bundle) -> list[Region]:
    """Each sub-class of a bundle, in its order; none where the bundle has none."""
    sub_classes = bundle.subclasses
    if sub_classes is None:
        return []
    rows: dict[int, list[int]] = {}
    for row, entry in enumerate(bundle.gallery.entries):
        if entry.id in sub_classes.of_face:
            rows.setdefault(sub_classes.of_face[entry.id], []).append(row)
    return [
        Region(
            each.id,
            each.emotion,
            each.centroid,
            each.covariance,
            len(rows.get(place, [])),
            len(rows.get(place, [])) / len(bundle.gallery),
            _votes(bundle, rows.get(place, [])),
            _nearest(bundle, rows.get(place, []), each.centroid),
        )
        for place, each in enumerate(sub_classes.each)
    ]


def of_gallery(regions: Iterable[Region], store: GalleryStore) -> list[Region]:
    """The same regions, with what another gallery than the bundle's has of them.

    Args:
        regions: of a bundle.
        store: an owner's gallery; a face counts as its label says or, without one, as the mixture named it.
    """
    faces = store.count()
    found = []
    for region in regions:
        own = _belongs(region)
        count = store.count(own)
        (matches,) = store.search(region.centroid[None].astype(np.float32), NEAREST, SearchOptions(filter=own)).matches
        nearest = tuple(Near(match.face.id, match.distance) for match in matches)
        found.append(replace(region, faces=count, share=count / faces if faces else 0.0, nearest=nearest))
    return found


def _belongs(region: Region) -> Filter:
    named = Comparison(("emotion",), "eq", region.emotion)
    labelled = Comparison(("label",), "eq", region.emotion)
    own = AnyOf((labelled, AllOf((Comparison(("label",), "eq", None), named))))
    return own if region.id == region.emotion else AllOf((own, Comparison(("sub_class",), "eq", region.id)))


def _votes(bundle: Bundle, rows: list[int]) -> dict[str, float]:
    total: Counter[str] = Counter()
    voted = 0
    for row in rows:
        votes = bundle.gallery.entries[row].metadata.get("votes") or {}
        count = sum(votes.values())
        if count:
            voted += 1
            total.update({name: given / count for name, given in votes.items()})
    return {name: total[name] / voted for name in VOTE_COLUMNS if name in total}


def _nearest(bundle: Bundle, rows: list[int], centroid: NDArray[np.float64]) -> tuple[Near, ...]:
    if not rows:
        return ()
    far = np.linalg.norm(bundle.gallery.embeddings[rows].astype(np.float64) - centroid, axis=1)
    order = far.argsort(kind="stable")[:NEAREST].tolist()
    return tuple(Near(bundle.gallery.entries[rows[place]].id, float(far[place])) for place in order)
