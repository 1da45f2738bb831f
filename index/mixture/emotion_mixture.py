"""The mixture of Gaussians of one emotion, fitted in the directions in which its faces differ."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.mixture.em import RESTARTS, GaussianMixture, Prior, fit_gaussian_mixture
from mien.index.mixture.mixture import PRIOR_FACES

SHARE_OF_VARIANCE: Final = 0.9
"""Share of an emotion's variance along the principal axes in which its components differ; along the other axes they
share one Gaussian.

In all 64 dimensions, directions without variance count as much as those in which expressions differ. Components of
sadness that were fitted on two halves of its faces agreed by 0.07 (adjusted Rand index, two components in 16 axes); on
its three to six main axes, by 0.50 to 0.95."""


@dataclass(frozen=True)
class EmotionFaces:
    """Faces that show an emotion, or possibly show it.

    Attributes:
        points: (n, d) float64 embeddings.
        weights: (n,) float64: 1 for a clear face, the emotion's posterior for one without a label.
        clear: (n,) bool, whether raters agreed on this emotion.
        groups: (n,) int64, of near copies.
    """

    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    clear: NDArray[np.bool_]
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.points)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "EmotionFaces":
        """The faces at ``rows``, indices or a mask."""
        return EmotionFaces(self.points[rows], self.weights[rows], self.clear[rows], self.groups[rows])


def fit_emotion(
    faces: EmotionFaces,
    count: int,
    background: NDArray[np.float64],
    *,
    start: NDArray[np.integer] | None = None,
    seed: int = 0,
    restarts: int = RESTARTS,
) -> GaussianMixture:
    """Fit the mixture of one emotion.

    Faces without a label are weighted by the emotion's posterior. It is that of the mixture of emotions, and stays the
    same in all steps; computed from the full covariances in each step, it would soon be 0 or 1.

    Args:
        faces: n of them, at least one clear.
        count: k, how many components.
        background: (d, d) mean covariance of all emotions, which is mixed in where clear faces are few.
        start: (n,) component of each face to start from; see ``fit_gaussian_mixture``.
        seed: of the random starts.
        restarts: how many random starts.

    Returns:
        k Gaussians in all d dimensions.
    """
    clear = faces.points[faces.clear]
    centre = clear.mean(axis=0)
    away = clear - centre
    trust = len(clear) / (len(clear) + PRIOR_FACES)
    covariance = trust * (away.T @ away) / len(clear) + (1 - trust) * background
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = variances[::-1].copy(), axes[:, ::-1]
    variances += 1e-6 * variances.mean()  # no axis is without variance, as in ``fit_mixture``

    shares = variances.cumsum() / variances.sum()
    kept = int(np.searchsorted(shares, SHARE_OF_VARIANCE)) + 1
    # The weight of Fraley and Raftery's prior: negligible for hundreds of faces, enough for a handful.
    prior = Prior(np.diag(variances[:kept]), kept + 2)
    inner_mixture = fit_gaussian_mixture(
        (faces.points - centre) @ axes[:, :kept],
        count,
        prior,
        weights=faces.weights,
        start=start,
        seed=seed,
        restarts=restarts,
    ).mixture

    inner, outer = axes[:, :kept], axes[:, kept:]
    shared = (outer * variances[kept:]) @ outer.T
    covariances = inner @ inner_mixture.covariances @ inner.T + shared
    symmetric = (covariances + covariances.transpose(0, 2, 1)) / 2
    return GaussianMixture(inner_mixture.weights, centre + inner_mixture.means @ inner.T, symmetric)
