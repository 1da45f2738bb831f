"""Sub-classes: classes within classes, the components of each emotion's own mixture of Gaussians.

Source: arXiv 2001.06612.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mien.index.mixture.em import Components


@dataclass(frozen=True)
class SubClass:
    """One component of an emotion.

    Attributes:
        id: the emotion, a stroke and a number, such as ``happiness/2``; it stays the same between rounds.
        emotion: what it is a sub-class of.
        weight: its share of the emotion's faces, above 0; those of siblings sum to 1.
        centroid: (d,) float64, its mean representative.
        covariance: (d, d) float64, positive definite.
        nearest: ids of the gallery faces of this sub-class that lie nearest to the centroid, nearest first.
        votes: (10,) float64, mean share of the votes in each of ``VOTE_COLUMNS``, over its gallery faces.
        difference: (10,) float64, how much higher that is than in its siblings; zero where it has none.
    """

    id: str
    emotion: str
    weight: float
    centroid: NDArray[np.float64]
    covariance: NDArray[np.float64]
    nearest: tuple[str, ...]
    votes: NDArray[np.float64]
    difference: NDArray[np.float64]

    @property
    def number(self) -> int:
        """The number in its id."""
        return int(self.id.rpartition("/")[2])


@dataclass(frozen=True)
class SubClasses:
    """The sub-classes of all emotions.

    Attributes:
        emotions: (c,) names, in the order of the mixture.
        each: (s,) sub-classes, those of an emotion in a row, in the order of emotions, then of numbers.
        of_face: gallery id to the place in ``each`` of the face's sub-class; always one of its own label.
        highest: (c,) the highest number each emotion ever gave, so that an id which has gone does not come back
            as another.
    """

    emotions: tuple[str, ...]
    each: tuple[SubClass, ...]
    of_face: Mapping[str, int]
    highest: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.each)

    def rows_of(self, emotion: str) -> list[int]:
        """The places in ``each`` of an emotion's sub-classes."""
        return [row for row, each in enumerate(self.each) if each.emotion == emotion]

    @cached_property
    def mixtures(self) -> tuple[Components, ...]:
        """(c,) the mixture of each emotion's sub-classes, in the order of ``each``."""
        groups = [[self.each[row] for row in self.rows_of(emotion)] for emotion in self.emotions]
        return tuple(
            Components(
                np.array([each.weight for each in group]),
                np.stack([each.centroid for each in group]),
                np.stack([each.covariance for each in group]),
            )
            for group in groups
        )

    def assign(
        self, embeddings: NDArray[np.floating], named: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The most probable sub-class of each face within the emotion that it was named.

        Args:
            embeddings: (n, d).
            named: (n,) indices into ``emotions``.

        Returns:
            (n,) int64 places in ``each``, and (n,) float64 their probability within the emotion.
        """
        places = np.empty(len(embeddings), dtype=np.int64)
        probabilities = np.empty(len(embeddings))
        for label in np.flatnonzero(np.bincount(named)):
            faces = named == label
            shares = self.mixtures[label].responsibilities(embeddings[faces])
            places[faces] = self.rows_of(self.emotions[label])[0] + shares.argmax(axis=1)
            probabilities[faces] = shares.max(axis=1)
        return places, probabilities
