"""Calibration: whether posteriors are right as often as they say, and how well they forecast the raters' votes.

Sources: Guo, Pleiss, Sun, Weinberger: *On Calibration of Modern Neural Networks*, arXiv 1706.04599 (expected
calibration error); Brier: *Verification of Forecasts Expressed in Terms of Probability*, 1950 (Brier score).

Posteriors p and targets t are (n, c) rows that sum to 1, labels are (n,) class indices; targets are the shares of the
raters' votes, or one-hot. A ``DatasetError`` says what does not fit, or that there is no face.
"""

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.scores.intervals import Scores, basic_interval, mean_interval, resampled_means
from mien.model.errors import DatasetError

BIN_COUNT: Final = 15
"""Equal-width bins of the top posterior, as in Guo et al."""

CHANCE_DRAWS: Final = 200
"""Draws of labels from which the calibration error that chance leaves is computed."""

PROBABILITY_FLOOR: Final = 1e-12
"""Smaller posteriors count as this much inside a logarithm: one face costs at most 27.6 nats, and not infinity."""

_SUM_TOLERANCE: Final = 1e-3


@dataclass(frozen=True)
class ReliabilityBin:
    """The faces whose top posterior lies in ``(lower, upper]``.

    Attributes:
        lower: lower edge, exclusive.
        upper: upper edge, inclusive.
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
    """How well posteriors are calibrated; smaller is better throughout.

    Attributes:
        faces: n, how many were scored.
        expected_calibration_error: mean distance of confidence and accuracy over the bins, weighted by count.
        chance_calibration_error: the part of it that n faces have even if posteriors are exactly right.
        brier_score: mean of sum_j (p_j - t_j)^2 against the target distributions, from 0 to 2.
        kl_divergence: mean KL(t || p) against the target distributions, in nats.
        negative_log_likelihood: mean of -log p at the label, in nats, p counting as at least ``PROBABILITY_FLOOR``.
        floored_faces: faces with a posterior below ``PROBABILITY_FLOOR`` at the label or where the target is not
            zero; their divergence and likelihood are bounds.
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


def score_calibration(posterior: NDArray[np.float64], labels: NDArray[np.int64], votes: NDArray[np.floating]) -> Scores:
    """The scores of ``calibration_scores``, with intervals."""
    scores = asdict(calibration_scores(posterior, labels, votes))
    errors = np.abs(resampled_means(signed_gaps(posterior, labels))).sum(axis=1)
    return scores, {
        "expected_calibration_error": basic_interval(scores["expected_calibration_error"], errors, lowest=0.0),
        "brier_score": mean_interval(squared_errors(posterior, votes)),
        "kl_divergence": mean_interval(divergences(posterior, votes)),
    }


def score_vote_shares(shares: NDArray[np.float64], votes: NDArray[np.floating]) -> Scores:
    """Score expected splits of the votes against the shares of the raters' votes, with intervals."""
    squares, kl = squared_errors(shares, votes), divergences(shares, votes)
    scores = {"brier_score": float(squares.mean()), "kl_divergence": float(kl.mean())}
    return scores, {"brier_score": mean_interval(squares), "kl_divergence": mean_interval(kl)}


def calibration_scores(
    posterior: NDArray[np.floating], labels: NDArray[np.integer], targets: NDArray[np.floating]
) -> CalibrationScores:
    """Score posteriors against labels and targets."""
    bins = reliability_bins(posterior, labels)
    _check_targets(posterior, targets)
    relevant = targets > 0
    relevant[np.arange(len(labels)), labels] = True
    return CalibrationScores(
        faces=len(labels),
        expected_calibration_error=expected_calibration_error(bins),
        chance_calibration_error=chance_calibration_error(posterior),
        brier_score=float(squared_errors(posterior, targets).mean()),
        kl_divergence=float(divergences(posterior, targets).mean()),
        negative_log_likelihood=float(-_floored_log(posterior)[np.arange(len(labels)), labels].mean()),
        floored_faces=int(((posterior < PROBABILITY_FLOOR) & relevant).any(axis=1).sum()),
        bins=bins,
    )


def reliability_bins(
    posterior: NDArray[np.floating], labels: NDArray[np.integer], bin_count: int = BIN_COUNT
) -> list[ReliabilityBin]:
    """Sort faces by their top posterior into bins of equal width; of equal posteriors the first emotion counts."""
    _check_labels(posterior, labels)
    confidence, correct, bin_of = _confidences(posterior, labels, bin_count)
    edges = np.linspace(0, 1, bin_count + 1)
    bins = []
    for number in range(bin_count):
        rows = bin_of == number
        count = int(rows.sum())
        bins.append(
            ReliabilityBin(
                lower=float(edges[number]),
                upper=float(edges[number + 1]),
                count=count,
                confidence=float(confidence[rows].mean()) if count else None,
                accuracy=float(correct[rows].mean()) if count else None,
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
    """(n, bin_count) the calibration error of each face, in the column of its bin; 0 in the others.

    It is confidence minus 1 for a face that is right, and confidence for one that is wrong. The absolute means of the
    columns sum to the expected calibration error.
    """
    _check_labels(posterior, labels)
    confidence, correct, bin_of = _confidences(posterior, labels, bin_count)
    return np.asarray((confidence - correct)[:, None] * (bin_of[:, None] == np.arange(bin_count)))


def chance_calibration_error(posterior: NDArray[np.floating], *, draws: int = CHANCE_DRAWS, seed: int = 0) -> float:
    """The expected calibration error that is left when posteriors are exactly right.

    In a bin of few faces accuracy differs from any confidence by chance, so no error can be told from this one. It is
    the mean over draws of which faces are right, each with its confidence as probability.
    """
    _check_distributions("posteriors", posterior)
    confidence, _, bin_of = _confidences(posterior, posterior.argmax(axis=1), BIN_COUNT)
    bins = (bin_of[:, None] == np.arange(BIN_COUNT)).astype(np.float64)
    generator = np.random.default_rng(seed)
    errors = [
        np.abs((confidence - (generator.random(len(confidence)) < confidence)) @ bins).sum() / len(confidence)
        for _ in range(draws)
    ]
    return float(np.mean(errors))


def squared_errors(posterior: NDArray[np.floating], targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n,) for each face sum_j (p_j - t_j)^2, from 0 to 2."""
    _check_targets(posterior, targets)
    return np.asarray(np.square(posterior.astype(np.float64) - targets).sum(axis=1))


def divergences(posterior: NDArray[np.floating], targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n,) for each face KL(t || p) = sum_j t_j log(t_j / p_j), in nats.

    0 log 0 counts as 0, and p as at least ``PROBABILITY_FLOOR``.
    """
    _check_targets(posterior, targets)
    wanted = targets.astype(np.float64)
    log_wanted = np.log(np.where(wanted > 0, wanted, 1.0))
    return np.asarray((wanted * (log_wanted - _floored_log(posterior))).sum(axis=1))


def _floored_log(posterior: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.log(np.maximum(posterior.astype(np.float64), PROBABILITY_FLOOR))


def _confidences(
    posterior: NDArray[np.floating], labels: NDArray[np.integer], bin_count: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """(n,) confidence, (n,) whether the top emotion is the label, and (n,) number of the bin."""
    confidence = posterior.max(axis=1).astype(np.float64)
    edges = np.linspace(0, 1, bin_count + 1)
    # Rounding may lift a posterior slightly above 1.
    bin_of = (np.searchsorted(edges, confidence, side="left") - 1).clip(0, bin_count - 1)
    return confidence, posterior.argmax(axis=1) == labels, bin_of


def _check_distributions(name: str, rows: NDArray[np.floating]) -> None:
    if rows.ndim != 2 or rows.size == 0:
        raise DatasetError(f"expected {name} of at least one face, got an array of shape {rows.shape}")
    sums = rows.sum(axis=1, dtype=np.float64)
    # Written so that NaN fails, too.
    wrong = ~((np.abs(sums - 1) <= _SUM_TOLERANCE) & (rows >= 0).all(axis=1))
    if wrong.any():
        row = int(wrong.argmax())
        raise DatasetError(f"{name} must be shares of 1, got the row {rows[row].tolist()} at {row}")


def _check_labels(posterior: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
    _check_distributions("posteriors", posterior)
    n, c = posterior.shape
    if labels.shape != (n,):
        raise DatasetError(f"expected {n} labels, got an array of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= c:
        raise DatasetError(f"labels must be from 0 to {c - 1}, got {labels.min()} to {labels.max()}")


def _check_targets(posterior: NDArray[np.floating], targets: NDArray[np.floating]) -> None:
    if posterior.shape != targets.shape:
        raise DatasetError(f"expected one target per posterior, got shapes {posterior.shape} and {targets.shape}")
    _check_distributions("posteriors", posterior)
    _check_distributions("targets", targets)
