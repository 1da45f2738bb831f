"""How far posteriors can be believed: as a forecast of the label, and as a forecast of the raters' votes.

Sources: Guo, Pleiss, Sun, Weinberger: *On Calibration of Modern Neural Networks*, arXiv 1706.04599 (expected
calibration error); Brier: *Verification of Forecasts Expressed in Terms of Probability*, 1950.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.errors import DatasetError

BIN_COUNT: Final = 15
"""Equal-width bins of the top posterior, as in Guo et al."""

PROBABILITY_FLOOR: Final = 1e-12
"""Smaller posteriors count as this much inside a logarithm: one face costs at most 27.6 nats, and not infinity."""

_SUM_TOLERANCE: Final = 1e-3


@dataclass(frozen=True)
class ReliabilityBin:
    """The faces whose top posterior lies in ``(lower, upper]``.

    Attributes:
        lower: lower edge, left out.
        upper: upper edge, taken in.
        count: how many faces.
        confidence: mean top posterior; None in an empty bin.
        accuracy: share of faces whose top emotion is their label; None in an empty bin.
    """

    lower: float
    upper: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class CalibrationScores:
    """How far posteriors can be believed; smaller is better throughout.

    Attributes:
        faces: n, how many were scored.
        expected_calibration_error: mean distance of confidence and accuracy over the bins, weighted by count.
        brier_score: mean of sum_j (p_j - t_j)^2 against the target distributions, from 0 to 2.
        kl_divergence: mean KL(t || p) against the target distributions, in nats.
        negative_log_likelihood: mean of -log p at the label, in nats.
        floored_faces: faces with a posterior below ``PROBABILITY_FLOOR`` at the label or where the target is not
            zero: on their account divergence and likelihood are bounds.
        bins: the reliability diagram, ``BIN_COUNT`` bins in ascending order.
    """

    faces: int
    expected_calibration_error: float
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
        brier_score=brier_score(posterior, targets),
        kl_divergence=kl_divergence(posterior, targets),
        negative_log_likelihood=negative_log_likelihood(posterior, labels),
        floored_faces=int(((posterior < PROBABILITY_FLOOR) & voted).any(axis=1).sum()),
        bins=bins,
    )


def reliability_bins(
    posterior: NDArray[np.floating], labels: NDArray[np.integer], bin_count: int = BIN_COUNT
) -> list[ReliabilityBin]:
    """Sort faces by their top posterior into bins of equal width from 0 to 1.

    Args:
        posterior: (n, c) rows that sum to 1; of equal top posteriors the first emotion counts.
        labels: (n,) class indices.
        bin_count: how many bins.

    Raises:
        DatasetError: there is no face, shapes differ, a row is no distribution, or a label is not in 0..c-1.
    """
    _check_distributions("posteriors", posterior)
    _check_labels(posterior, labels)
    confidence = posterior.max(axis=1).astype(np.float64)
    correct = posterior.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bin_count + 1)
    # Rounding may lift a posterior slightly above 1.
    member = (np.searchsorted(edges, confidence, side="left") - 1).clip(0, bin_count - 1)
    bins = []
    for number in range(bin_count):
        chosen = member == number
        filled = bool(chosen.any())
        bins.append(
            ReliabilityBin(
                lower=float(edges[number]),
                upper=float(edges[number + 1]),
                count=int(chosen.sum()),
                confidence=float(confidence[chosen].mean()) if filled else None,
                accuracy=float(correct[chosen].mean()) if filled else None,
            )
        )
    return bins


def expected_calibration_error(bins: list[ReliabilityBin]) -> float:
    """Mean distance of confidence and accuracy over reliability bins, weighted by their counts."""
    gaps = sum(
        bin_.count * abs(bin_.confidence - bin_.accuracy)
        for bin_ in bins
        if bin_.confidence is not None and bin_.accuracy is not None
    )
    return gaps / sum(bin_.count for bin_ in bins)


def brier_score(posterior: NDArray[np.floating], targets: NDArray[np.floating]) -> float:
    """Mean over the faces of sum_j (p_j - t_j)^2, from 0 to 2.

    Args:
        posterior: (n, c) rows that sum to 1.
        targets: (n, c) rows that sum to 1.

    Raises:
        DatasetError: there is no face, shapes differ, or a row is no distribution.
    """
    _check_pair(posterior, targets)
    return float(np.square(posterior.astype(np.float64) - targets).sum(axis=1).mean())


def kl_divergence(posterior: NDArray[np.floating], targets: NDArray[np.floating]) -> float:
    """Mean over the faces of KL(t || p) = sum_j t_j log(t_j / p_j), in nats.

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
    return float((wanted * (log_wanted - _floored_log(posterior))).sum(axis=1).mean())


def negative_log_likelihood(posterior: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean over the faces of -log p at the label, in nats, p counting as at least ``PROBABILITY_FLOOR``.

    Args:
        posterior: (n, c) rows that sum to 1.
        labels: (n,) class indices.

    Raises:
        DatasetError: there is no face, shapes differ, a row is no distribution, or a label is not in 0..c-1.
    """
    _check_distributions("posteriors", posterior)
    _check_labels(posterior, labels)
    return float(-_floored_log(posterior)[np.arange(len(labels)), labels].mean())


def _floored_log(posterior: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.log(np.maximum(posterior.astype(np.float64), PROBABILITY_FLOOR))


def _check_pair(posterior: NDArray[np.floating], targets: NDArray[np.floating]) -> None:
    if posterior.shape != targets.shape:
        raise DatasetError(f"scoring wants one target per posterior, got shapes {posterior.shape} and {targets.shape}")
    _check_distributions("posteriors", posterior)
    _check_distributions("targets", targets)


def _check_distributions(kind: str, rows: NDArray[np.floating]) -> None:
    if rows.ndim != 2 or rows.size == 0:
        raise DatasetError(f"scoring wants {kind} of at least one face, got an array of shape {rows.shape}")
    sums = rows.sum(axis=1, dtype=np.float64)
    # Written so that NaN fails, too.
    wrong = ~((np.abs(sums - 1) <= _SUM_TOLERANCE) & (rows >= 0).all(axis=1))
    if wrong.any():
        row = int(wrong.argmax())
        raise DatasetError(f"scoring wants {kind} that are shares of 1, got the row {rows[row].tolist()} at {row}")


def _check_labels(posterior: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
    n, c = posterior.shape
    if labels.shape != (n,):
        raise DatasetError(f"scoring wants {n} labels, got an array of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= c:
        raise DatasetError(f"scoring wants labels from 0 to {c - 1}, got {labels.min()} to {labels.max()}")
