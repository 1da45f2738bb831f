"""The atlas: each emotion and sub-class with its share, how raters voted, and the faces nearest to its centroid."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from index.bundle import Bundle
from index.gallery import Match
from model.votes import VOTE_COLUMNS

NEAREST: Final = 8
"""Faces that are shown of each emotion."""


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
        votes: mean share of the raters' votes for each of ``VOTE_COLUMNS``, those that any rater gave.
        nearest: gallery faces with this label, nearest to the centroid first.
    """

    id: str
    emotion: str
    centroid: NDArray[np.float64]
    covariance: NDArray[np.float64]
    faces: int
    share: float
    votes: dict[str, float]
    nearest: tuple[Match, ...]


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


def _nearest(bundle: Bundle, rows: list[int], centroid: NDArray[np.float64]) -> tuple[Match, ...]:
    if not rows:
        return ()
    far = np.linalg.norm(bundle.gallery.embeddings[rows].astype(np.float64) - centroid, axis=1)
    order = far.argsort(kind="stable")[:NEAREST].tolist()
    return tuple(Match(bundle.gallery.entries[rows[place]], float(far[place])) for place in order)
