"""Calibration: posterior and typicality brought to the scale of faces that the network was not trained on.

Centroids and covariances stay as they were fitted on training faces. On other faces are fitted: a sigma for the
posterior, so that it is right as often as it says, for each prior its own; another sigma, under which it follows the
split of the raters' votes; and the distribution of the outlier score, so that typicality is uniform over faces.

Source of the sigma, which is temperature scaling inside the Gaussian form: Guo, Pleiss, Sun, Weinberger: *On
Calibration of Modern Neural Networks*, arXiv 1706.04599.
"""

import math
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.mixture.background import Background
from mien.index.mixture.mixture import KEEP_SHARE, Calibration, Mixture, quantile_table, typicality_from
from mien.model.errors import DatasetError

SIGMA_RANGE: Final = 20.0
"""Sigma is sought from the starting value divided by this to the starting value times this."""

PRECISION: Final = 1e-6
"""Relative precision of a fitted sigma."""


def calibrate_mixture(
    mixture: Mixture,
    background: Background,
    embeddings: NDArray[np.floating],
    one_hot: NDArray[np.floating],
    votes: NDArray[np.floating],
) -> Mixture:
    """The mixture with a calibration.

    Args:
        mixture: fitted on training faces; of an older calibration only the trained sigma is kept.
        background: of pictures without an expression.
        embeddings: (n, d) of faces that neither the network nor the mixture was fitted on.
        one_hot: (n, c) their labels.
        votes: (n, c) shares of the raters' votes.

    Raises:
        DatasetError: there is no face, or the arrays differ in length.
    """
    distances = mixture.distances(embeddings)
    start = mixture.trained_sigma
    outlier_scores = background.log_density(embeddings) - mixture.log_density(embeddings)
    table = quantile_table(outlier_scores)
    return replace(
        mixture,
        sigma=fit_sigma(distances, one_hot, start),
        calibration=Calibration(
            trained_sigma=start,
            votes_sigma=fit_sigma(distances, votes, start),
            background=background,
            outlier_scores=table,
            min_typicality=threshold_keeping(typicality_from(outlier_scores, table), KEEP_SHARE),
            data_sigma=fit_sigma(distances, one_hot, start, mixture.weights),
        ),
    )


def fit_sigma(
    distances: NDArray[np.float64],
    targets: NDArray[np.floating],
    start: float,
    weights: NDArray[np.float64] | None = None,
) -> float:
    """The sigma of greatest likelihood: with the least mean cross-entropy of targets and posterior.

    ``1 / (2 sigma^2)`` multiplies the squared distances, so with equal weights the nearest centroid keeps the largest
    posterior. The cross-entropy is convex in it. Where every face lies nearest to its label, it falls down to sigma 0,
    and the smallest sigma of the range is returned.

    Args:
        distances: (n, c) to the centroids.
        targets: (n, c) rows that sum to 1: one-hot for labels, shares for votes.
        start: middle of the range that is searched, positive.
        weights: (c,) of the components, above 0; None takes equal ones.

    Raises:
        DatasetError: there is no face, or shapes differ.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    if distances.shape != targets.shape or distances.size == 0:
        raise DatasetError(
            f"a sigma is fitted on one target per face, got {targets.shape} targets for {distances.shape} distances"
        )
    squares, wanted = np.square(distances), targets.astype(np.float64)
    log_weights = np.log(weights) if weights is not None else 0.0

    def cost(log_sigma: float) -> float:
        log_posterior = log_softmax(log_weights - squares / (2 * math.exp(2 * log_sigma)), axis=1)
        # Where the cross-entropy has underflowed to 0, the second term decides for the smaller sigma.
        return float(-(wanted * log_posterior).sum(axis=1).mean()) + 1e-13 * log_sigma

    middle, width = math.log(start), math.log(SIGMA_RANGE)
    found = minimize_scalar(
        cost, bounds=(middle - width, middle + width), method="bounded", options={"xatol": PRECISION}
    )
    return math.exp(found.x)


def threshold_keeping(typicality: NDArray[np.floating], share: float) -> float:
    """The highest threshold that at least ``share`` of (n,) faces reach.

    Raises:
        DatasetError: there is no face, a typicality is NaN, or the share is not above 0 and up to 1.
    """
    if typicality.ndim != 1 or typicality.size == 0 or np.isnan(typicality).any():
        raise DatasetError(f"a threshold needs the typicality of one or more faces, got {typicality.tolist()[:5]}")
    if not 0 < share <= 1:
        raise DatasetError(f"the share of faces to keep must be above 0 and up to 1, got {share}")
    # 0.07 * 100 is slightly more than 7 in floating point, but asks for 7 faces.
    kept = max(1, math.ceil(share * typicality.size - 1e-9))
    return float(np.sort(typicality)[typicality.size - kept])
