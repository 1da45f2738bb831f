"""The background: the density of pictures without a known expression, with which outliers are told from faces.

Distance from the emotions is not enough: a network maps a face turned upside down among the faces. The outlier score
is therefore a likelihood ratio: how likely a point is under a Gaussian of pictures without an expression, against how
likely it is under the emotions.

Sources: Bishop: *Novelty Detection and Neural Network Validation*, 1994 (a background density); Ren et al.:
*Likelihood Ratios for Out-of-Distribution Detection*, arXiv 1906.02845.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.mixture.em import GaussianMixture

FLOOR_SHARE: Final = 0.005
"""The share of training faces that are less likely under the emotions than the background is anywhere."""


@dataclass(frozen=True)
class Background:
    """A Gaussian on a floor.

    Far from what the Gaussian was fitted on, its density falls below that of the emotions; there the floor takes over,
    so that a point far from both is an outlier, too.

    Attributes:
        centroid: (d,) float64.
        covariance: (d, d) float64, positive definite.
        floor: log density that is added everywhere, in nats.
    """

    centroid: NDArray[np.float64]
    covariance: NDArray[np.float64]
    floor: float

    def log_density(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n,) log of the sum of both at (n, d) embeddings, in nats."""
        return np.logaddexp(self._gaussian.log_likelihood(embeddings), self.floor)

    @cached_property
    def _gaussian(self) -> GaussianMixture:
        return GaussianMixture(np.ones(1), self.centroid[None], self.covariance[None])


def fit_background(embeddings: NDArray[np.floating], face_log_densities: NDArray[np.float64]) -> Background:
    """Fit the background.

    Args:
        embeddings: (n, d) of pictures without an expression, n at least 2.
        face_log_densities: (m,) of training faces under the emotions, in nats; the floor is a quantile of them.

    Raises:
        ValueError: there are fewer than two pictures, or no face.
    """
    if len(embeddings) < 2 or len(face_log_densities) == 0:
        raise ValueError(
            f"a background needs two or more pictures and one or more faces, got {len(embeddings)} and "
            f"{len(face_log_densities)}"
        )
    points = embeddings.astype(np.float64)
    covariance = np.cov(points, rowvar=False)
    # A share of the variance on the diagonal keeps directions in which nothing varies invertible.
    ridge = 1e-6 * np.trace(covariance) / covariance.shape[0] * np.eye(covariance.shape[0])
    return Background(points.mean(axis=0), covariance + ridge, float(np.quantile(face_log_densities, FLOOR_SHARE)))
