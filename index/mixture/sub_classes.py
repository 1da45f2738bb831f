"""Sub-classes: the components of the mixture of Gaussians of each emotion.

Source: arXiv 2001.06612.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mien.index.mixture.em import GaussianMixture
from mien.model.emotions import VOTE_COLUMNS


@dataclass(frozen=True)
class SubClass:
    """One component of an emotion.

    Attributes:
        id: emotion and number, such as ``happiness/2``; it stays the same between rounds of discovery.
        emotion: of which it is a sub-class.
        weight: its share of the emotion's faces, above 0; the weights of an emotion sum to 1.
        centroid: (d,) float64.
        covariance: (d, d) float64, positive definite.
        nearest: ids of the gallery faces of this sub-class nearest to the centroid, nearest first.
        votes: (v,) float64, mean share of the votes in each column, over its gallery faces.
        difference: (v,) float64, how much higher these shares are than in its siblings; zero without siblings.
        name: what its faces show, in a few words, such as ``closed smile``; None until somebody has named it.
        description: the same in a sentence; None without one.
    """

    id: str
    emotion: str
    weight: float
    centroid: NDArray[np.float64]
    covariance: NDArray[np.float64]
    nearest: tuple[str, ...]
    votes: NDArray[np.float64]
    difference: NDArray[np.float64]
    name: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class SubClasses:
    """The sub-classes of all emotions.

    Attributes:
        emotions: (c,) names, in the order of the mixture.
        each: (s,) sub-classes, in the order of emotions, then of numbers.
        of_face: gallery id to the row in ``each`` of the face's sub-class, which is one of its label.
        highest: (c,) the highest number that each emotion has ever used, so that no id is used again for another
            sub-class.
        vote_columns: (v,) what the votes are for.
    """

    emotions: tuple[str, ...]
    each: tuple[SubClass, ...]
    of_face: Mapping[str, int]
    highest: tuple[int, ...]
    vote_columns: tuple[str, ...] = VOTE_COLUMNS

    def __len__(self) -> int:
        return len(self.each)

    @cached_property
    def names(self) -> dict[str, str]:
        """The id of each sub-class that has a name to its emotion and name, such as ``happiness/closed smile``."""
        return {each.id: f"{each.emotion}/{each.name}" for each in self.each if each.name is not None}

    def rows_of(self, emotion: str) -> list[int]:
        """The rows in ``each`` of an emotion's sub-classes."""
        return [row for row, each in enumerate(self.each) if each.emotion == emotion]

    @cached_property
    def mixtures(self) -> tuple[GaussianMixture, ...]:
        """(c,) the mixture of each emotion's sub-classes, in the order of ``each``."""
        groups = [[self.each[row] for row in self.rows_of(emotion)] for emotion in self.emotions]
        return tuple(
            GaussianMixture(
                np.array([each.weight for each in group]),
                np.stack([each.centroid for each in group]),
                np.stack([each.covariance for each in group]),
            )
            for group in groups
        )

    def assign(
        self, embeddings: NDArray[np.floating], labels: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The most probable sub-class of each face within its emotion.

        Args:
            embeddings: (n, d).
            labels: (n,) indices into ``emotions``.

        Returns:
            (n,) int64 rows in ``each``, and (n,) float64 their probability within the emotion.
        """
        rows = np.empty(len(embeddings), dtype=np.int64)
        probabilities = np.empty(len(embeddings))
        for label in np.flatnonzero(np.bincount(labels)):
            faces = labels == label
            shares = self.mixtures[label].responsibilities(embeddings[faces])
            rows[faces] = self.rows_of(self.emotions[label])[0] + shares.argmax(axis=1)
            probabilities[faces] = shares.max(axis=1)
        return rows, probabilities
