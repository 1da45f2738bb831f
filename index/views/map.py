"""The map: the embedding space in two dimensions, with the Gaussians of the emotions as ellipses.

The projection is linear, so that a mix of two points lies on the line between them, and a Gaussian is an ellipse. Its
axes are the principal axes of the emotions' centroids; those of all faces would mostly show the emotions with the most
faces.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.results import Sample
from mien.index.mixture.mixture import Mixture

STANDARD_DEVIATIONS: Final = 1.5
"""Half axes of an ellipse on the map; it holds two thirds of a Gaussian's faces."""


@dataclass(frozen=True)
class FlatView:
    """A linear projection of the space onto a plane.

    Attributes:
        middle: (d,) float64, the point that is projected onto the origin.
        axes: (2, d) float64, orthonormal.
    """

    middle: NDArray[np.float64]
    axes: NDArray[np.float64]

    def project(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, 2) places of (n, d) embeddings in the plane, in embedding units."""
        return np.asarray((embeddings.astype(np.float64) - self.middle) @ self.axes.T)


@dataclass(frozen=True)
class Ellipse:
    """A Gaussian in the plane.

    Attributes:
        x: of its centre.
        y: of its centre.
        long: half of its longer diameter.
        short: half of its shorter one.
        turn: angle from the x axis to the longer diameter, radians.
    """

    x: float
    y: float
    long: float
    short: float
    turn: float


def flat_view(mixture: Mixture) -> FlatView:
    """The projection in which the centroids of the emotions lie furthest apart."""
    middle = mixture.centroids.mean(axis=0)
    _, _, axes = np.linalg.svd(mixture.centroids - middle, full_matrices=False)
    axes = axes[:2]
    # The sign of an axis is arbitrary: it is chosen by the side of the first emotion.
    signs = np.where(axes @ (mixture.centroids[0] - middle) < 0, -1.0, 1.0)
    return FlatView(middle, axes * signs[:, None])


def ellipse(
    view: FlatView,
    centroid: NDArray[np.floating],
    covariance: NDArray[np.floating],
    *,
    deviations: float = STANDARD_DEVIATIONS,
) -> Ellipse:
    """The projection of a Gaussian with centroid (d,) and covariance (d, d), at some standard deviations."""
    x, y = view.project(centroid[None])[0].tolist()
    flat = view.axes @ covariance @ view.axes.T
    values, vectors = np.linalg.eigh(flat)  # ascending
    short, long = (deviations * np.sqrt(np.maximum(values, 0))).tolist()
    return Ellipse(x, y, long, short, math.atan2(vectors[1, 1], vectors[0, 1]))


def sample_emotions(mixture: Mixture, sample: Sample) -> list[int]:
    """The emotion of each face of a sample, as an index into the mixture's emotions.

    It is the face's label or, where that is none of these emotions, the nearest.
    """
    index_of = {emotion: index for index, emotion in enumerate(mixture.emotions)}
    indices = [index_of.get(emotion or "", -1) for emotion in sample.emotions]
    others = [row for row, index in enumerate(indices) if index < 0]
    if others:
        nearest = mixture.distances(sample.embeddings[others]).argmin(axis=1).tolist()
        for row, index in zip(others, nearest, strict=True):
            indices[row] = index
    return indices
