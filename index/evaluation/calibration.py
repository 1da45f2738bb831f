"""How far posteriors can be believed: as a forecast of the label, and as a forecast of the raters' votes.

Source of the score: Brier: *Verification of Forecasts Expressed in Terms of Probability*, 1950.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.reliability import (
    ReliabilityBin,
    chance_calibration_error,
    check_distributions,
    check_labels,
    expected_calibration_error,
    reliability_bins,
)
from mien.model.errors import DatasetError

PROBABILITY_FLOOR: Final = 1e-12
"""Smaller posteriors count as this much inside a logarithm: one face costs at most 27.6 nats, and not infinity."""


@dataclass(frozen=True)
class CalibrationScores:
    """How far posteriors can be believed; smaller is better throughout.

    Attributes:
        faces: n, how many were scored.
        expected_calibration_error: mean distance of confidence and accuracy over the bins, weighted by count.
        chance_calibration_error: what of it so few faces would have if posteriors were exactly right.
        brier_score: mean of sum_j (p_j - t_j)^2 against the target distributions, from 0 to 2.
        kl_divergence: mean KL(t || p) against the target distributions, in nats.
        negative_log_likelihood: mean of -log p at the label, in nats.
        floored_faces: faces with a posterior below ``PROBABILITY_FLOOR`` at the label or where the target is not
            zero: on their account divergence and likelihood are bounds.
        bins: the reliability diagram, ``BIN_COUNT`` bins in ascending order.
    """

    faces: int
    expected_calibration_error: float
    chance_calibration_error: float
    brier_score: float
    kl_divergence: float
    negative_log_likelihood: float
    floored_faces: int
    bins: list[ReliabilityBin]


def calibration_scores(
    posterior: NDArray[np.floating], labels: NDArray[np.integer], targets: NDArray[np.floating]
) -> CalibrationScores:
    """Score posteriors against labels and target distributions.

    Args:
        posterior: (n, c) rows that sum to 1.
        labels: (n,) class indices.
        targets: (n, c) rows that sum to 1: the shares of the raters' votes, or one-hot.

    Raises:
        DatasetError: there is no face, shapes differ, a row is no distribution, or a label is not in 0..c-1.
    """
    bins = reliability_bins(posterior, labels)
    _check_pair(posterior, targets)
    voted = targets > 0
    voted[np.arange(len(labels)), labels] = True
    return CalibrationScores(
        faces=len(labels),
        expected_calibration_error=expected_calibration_error(bins),
        chance_calibration_error=chance_calibration_error(posterior),
        brier_score=brier_score(posterior, targets),
        kl_divergence=kl_divergence(posterior, targets),
        negative_log_likelihood=negative_log_likelihood(posterior, labels),
        floored_faces=int(((posterior < PROBABILITY_FLOOR) & voted).any(axis=1).sum()),
        bins=bins,
    )


def brier_score(posterior: NDArray[np.floating], targets: NDArray[np.floating]) -> float:
    """Mean of the faces' squared errors, from 0 to 2."""
    return float(squared_errors(posterior, targets).mean())


def kl_divergence(posterior: NDArray[np.floating], targets: NDArray[np.floating]) -> float:
    """Mean of the faces' divergences KL(t || p), in nats."""
    return float(divergences(posterior, targets).mean())


def negative_log_likelihood(posterior: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean over the faces of -log p at the label, in nats, p counting as at least ``PROBABILITY_FLOOR``.

    Args:
        posterior: (n, c) rows that sum to 1.
        labels: (n,) class indices.

    Raises:
        DatasetError: there is no face, shapes differ, a row is no distribution, or a label is not in 0..c-1.
    """
    check_distributions("posteriors", posterior)
    check_labels(posterior, labels)
    return float(-_floored_log(posterior)[np.arange(len(labels)), labels].mean())


def squared_errors(posterior: NDArray[np.floating], targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n,) for each face sum_j (p_j - t_j)^2, from 0 to 2.

    Args:
        posterior: (n, c) rows that sum to 1.
        targets: (n, c) rows that sum to 1.

    Raises:
        DatasetError: there is no face, shapes differ, or a row is no distribution.
    """
    _check_pair(posterior, targets)
    return np.asarray(np.square(posterior.astype(np.float64) - targets).sum(axis=1))


def divergences(posterior: NDArray[np.floating], targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n,) for each face KL(t || p) = sum_j t_j log(t_j / p_j), in nats.

    0 log 0 counts as 0, and p as at least ``PROBABILITY_FLOOR``.

    Args:
        posterior: (n, c) rows that sum to 1, p.
        targets: (n, c) rows that sum to 1, t.

    Raises:
        DatasetError: there is no face, shapes differ, or a row is no distribution.
    """
    _check_pair(posterior, targets)
    wanted = targets.astype(np.float64)
    log_wanted = np.log(np.where(wanted > 0, wanted, 1.0))
    return np.asarray((wanted * (log_wanted - _floored_log(posterior))).sum(axis=1))


def _floored_log(posterior: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.log(np.maximum(posterior.astype(np.float64), PROBABILITY_FLOOR))


def _check_pair(posterior: NDArray[np.floating], targets: NDArray[np.floating]) -> None:
    if posterior.shape != targets.shape:
        raise DatasetError(f"scoring wants one target per posterior, got shapes {posterior.shape} and {targets.shape}")
    check_distributions("posteriors", posterior)
    check_distributions("targets", targets)
