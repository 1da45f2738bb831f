"""The sigma of the posterior, fitted: one number that makes posteriors believable and keeps their order.

Temperature scaling inside the Gaussian form: ``1 / (2 sigma^2)`` multiplies the squared distances, so that the
nearest centroid keeps the largest posterior whatever sigma is.

Source: Guo, Pleiss, Sun, Weinberger: *On Calibration of Modern Neural Networks*, arXiv 1706.04599.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.mixture.mixture import posterior_from
from mien.model.errors import DatasetError

WIDEST: Final = 20.0
"""Sigma is sought from the starting value divided by this to the starting value times this."""

PRECISION: Final = 1e-4
"""The search ends when sigma is known to this relative precision."""

_GOLDEN: Final = (math.sqrt(5) - 1) / 2


def fit_sigma(distances: NDArray[np.float64], targets: NDArray[np.floating], start: float) -> float:
    """The sigma of greatest likelihood: with the least mean cross-entropy of posterior and target.

    The cross-entropy is convex in ``1 / sigma^2``, so it has one valley and a golden-section search finds its bottom.
    Where every face lies nearest to its label the valley has no bottom, and the smallest sigma is answered.

    Args:
        distances: (n, c) to the centroids.
        targets: (n, c) rows that sum to 1: one-hot for labels, shares for votes.
        start: sigma before, positive.

    Raises:
        DatasetError: there is no face, or shapes differ.
    """
    if distances.shape != targets.shape or distances.size == 0:
        raise DatasetError(
            f"a sigma is fitted on one target per face, got {targets.shape} targets for {distances.shape} distances"
        )
    wanted = targets.astype(np.float64)

    def cost(log_sigma: float) -> float:
        logits = -np.square(distances) / (2 * math.exp(2 * log_sigma))
        highest = logits.max(axis=1, keepdims=True)
        log_posterior = logits - highest - np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))
        return float(-(wanted * log_posterior).sum(axis=1).mean())

    low, high = math.log(start / WIDEST), math.log(start * WIDEST)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    left_cost, right_cost = cost(left), cost(right)
    while high - low > PRECISION:
        if left_cost <= right_cost:  # of equal ends the smaller sigma
            high, right, right_cost = right, left, left_cost
            left = high - _GOLDEN * (high - low)
            left_cost = cost(left)
        else:
            low, left, left_cost = left, right, right_cost
            right = low + _GOLDEN * (high - low)
            right_cost = cost(right)
    return math.exp((low + high) / 2)


def scaled_posterior(
    distances: NDArray[np.float64],
    targets: NDArray[np.floating],
    start: float,
    fit_on: NDArray[np.bool_],
    answer_for: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Posteriors of some faces under the sigma that is best for others.

    Args:
        distances: (n, c) to the centroids.
        targets: (n, c) rows that sum to 1.
        start: sigma before, positive.
        fit_on: (n,) the faces that sigma is fitted on.
        answer_for: (n,) the m faces to answer for.

    Returns:
        (m, c) rows that sum to 1.
    """
    return posterior_from(distances[answer_for], fit_sigma(distances[fit_on], targets[fit_on], start))
