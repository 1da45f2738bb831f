"""The map: the embedding space seen flat, with the Gaussians of the emotions as ellipses.

The view is linear, so that a mix of two points lies on the line between them, and an ellipse of the space stays an
ellipse. Its axes are those in which the centroids of the emotions differ most: axes of the greatest variance over all
faces would spend themselves on the emotions with the most faces.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.results import Sample
from mien.index.mixture.mixture import Mixture

STANDARD_DEVIATIONS: Final = 1.5
"""How far an ellipse reaches: it then holds two thirds of a Gaussian's faces."""


@dataclass(frozen=True)
class FlatView:
    """A linear view of the space.

    Attributes:
        middle: (d,) float64, what is shown at the origin.
        axes: (2, d) float64, orthonormal.
    """

    middle: NDArray[np.float64]
    axes: NDArray[np.float64]

    def place(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, 2) where (n, d) embeddings are shown, in embedding units."""
        return np.asarray((embeddings.astype(np.float64) - self.middle) @ self.axes.T)


@dataclass(frozen=True)
class Ellipse:
    """A Gaussian as it is shown.

    Attributes:
        x: of its centre.
        y: of its centre.
        long: half of its longer diameter.
        short: half of its shorter one.
        turn: from the x axis to the longer diameter, radians.
    """

    x: float
    y: float
    long: float
    short: float
    turn: float


def flat_view(mixture: Mixture) -> FlatView:
    """The view in which the centroids of the emotions lie furthest apart."""
    middle = mixture.centroids.mean(axis=0)
    _, _, axes = np.linalg.svd(mixture.centroids - middle, full_matrices=False)
    axes = axes[:2]
    # An axis may point either way; the first emotion lies on the same side whatever the library decided.
    signs = np.where(axes @ (mixture.centroids[0] - middle) < 0, -1.0, 1.0)
    return FlatView(middle, axes * signs[:, None])


def ellipse(view: FlatView, centroid: NDArray[np.float64], covariance: NDArray[np.float64]) -> Ellipse:
    """A Gaussian, centroid (d,) and covariance (d, d), in the view."""
    x, y = view.place(centroid[None])[0].tolist()
    flat = view.axes @ covariance @ view.axes.T
    values, vectors = np.linalg.eigh(flat)  # ascending
    short, long = (STANDARD_DEVIATIONS * np.sqrt(np.maximum(values, 0))).tolist()
    return Ellipse(x, y, long, short, math.atan2(vectors[1, 1], vectors[0, 1]))


def emotions_shown(mixture: Mixture, sample: Sample) -> list[int]:
    """The emotion that each face of a sample is shown as: a place in the mixture's emotions.

    What its owner calls it or, where that is none of these, the nearest.
    """
    known = {emotion: place for place, emotion in enumerate(mixture.emotions)}
    shown = [known.get(emotion or "", -1) for emotion in sample.emotions]
    others = [row for row, place in enumerate(shown) if place < 0]
    if others:
        for row, place in zip(
            others, mixture.distances(sample.embeddings[others]).argmin(axis=1).tolist(), strict=True
        ):
            shown[row] = place
    return shown
