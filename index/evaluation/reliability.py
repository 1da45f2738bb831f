"""Reliability: whether faces of a confidence are right as often as it says.

Source: Guo, Pleiss, Sun, Weinberger: *On Calibration of Modern Neural Networks*, arXiv 1706.04599 (expected
calibration error).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import DatasetError

BIN_COUNT: Final = 15
"""Equal-width bins of the top posterior, as in Guo et al."""

CHANCE_DRAWS: Final = 200
"""Times that labels are drawn to see what calibration error chance alone leaves."""

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
    check_distributions("posteriors", posterior)
    check_labels(posterior, labels)
    confidence, correct, member = _sorted_in(posterior, labels, bin_count)
    edges = np.linspace(0, 1, bin_count + 1)
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


def signed_gaps(
    posterior: NDArray[np.floating], labels: NDArray[np.integer], bin_count: int = BIN_COUNT
) -> NDArray[np.float64]:
    """The calibration error face by face.

    Args:
        posterior: (n, c) rows that sum to 1.
        labels: (n,) class indices.
        bin_count: how many bins.

    Returns:
        (n, bin_count) confidence minus 1 for a face that is right, confidence for one that is wrong, in the column of
        its bin; 0 in the others. The absolute means of the columns sum to the expected calibration error.

    Raises:
        DatasetError: there is no face, shapes differ, a row is no distribution, or a label is not in 0..c-1.
    """
    check_distributions("posteriors", posterior)
    check_labels(posterior, labels)
    confidence, correct, member = _sorted_in(posterior, labels, bin_count)
    return np.asarray((confidence - correct)[:, None] * (member[:, None] == np.arange(bin_count)))


def chance_calibration_error(posterior: NDArray[np.floating], *, draws: int = CHANCE_DRAWS, seed: int = 0) -> float:
    """The expected calibration error that is left when posteriors are exactly right.

    So few faces fall into a bin that their accuracy strays from any confidence: an error of this size is as good as
    none. It is the mean over draws of who is right, each face with its own confidence.

    Args:
        posterior: (n, c) rows that sum to 1.
        draws: how often.
        seed: decides the draws.

    Raises:
        DatasetError: there is no face, or a row is no distribution.
    """
    check_distributions("posteriors", posterior)
    top = posterior.argmax(axis=1)
    confidence, _, member = _sorted_in(posterior, top, BIN_COUNT)
    bins = (member[:, None] == np.arange(BIN_COUNT)).astype(np.float64)
    generator = np.random.default_rng(seed)
    errors = [
        np.abs((confidence - (generator.random(len(confidence)) < confidence)) @ bins).sum() / len(confidence)
        for _ in range(draws)
    ]
    return float(np.mean(errors))


def check_distributions(kind: str, rows: NDArray[np.floating]) -> None:
    """Refuse rows that are no distributions.

    Raises:
        DatasetError: there is no row, or one has other than shares of 1.
    """
    if rows.ndim != 2 or rows.size == 0:
        raise DatasetError(f"scoring wants {kind} of at least one face, got an array of shape {rows.shape}")
    sums = rows.sum(axis=1, dtype=np.float64)
    # Written so that NaN fails, too.
    wrong = ~((np.abs(sums - 1) <= _SUM_TOLERANCE) & (rows >= 0).all(axis=1))
    if wrong.any():
        row = int(wrong.argmax())
        raise DatasetError(f"scoring wants {kind} that are shares of 1, got the row {rows[row].tolist()} at {row}")


def check_labels(posterior: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
    """Refuse labels that do not fit (n, c) posteriors.

    Raises:
        DatasetError: there is not one for each, or one is not in 0..c-1.
    """
    n, c = posterior.shape
    if labels.shape != (n,):
        raise DatasetError(f"scoring wants {n} labels, got an array of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= c:
        raise DatasetError(f"scoring wants labels from 0 to {c - 1}, got {labels.min()} to {labels.max()}")


def _sorted_in(
    posterior: NDArray[np.floating], labels: NDArray[np.integer], bin_count: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """(n,) confidence, (n,) whether the top emotion is the label, and (n,) the bin."""
    confidence = posterior.max(axis=1).astype(np.float64)
    edges = np.linspace(0, 1, bin_count + 1)
    # Rounding may lift a posterior slightly above 1.
    member = (np.searchsorted(edges, confidence, side="left") - 1).clip(0, bin_count - 1)
    return confidence, posterior.argmax(axis=1) == labels, member
