"""Bootstrap confidence intervals: how far scores would move with another choice of faces.

A score that is a mean over faces, or is computed from such means, is computed on many sets of faces drawn with
replacement; the middle 95 % of the results is the interval. It covers the choice of faces, not what another data set
or another training would change.

Source: Efron, Tibshirani: *An Introduction to the Bootstrap*, 1993, chapters 13 (percentile) and 5.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import DatasetError

RESAMPLES: Final = 2000
"""Sets of faces that are drawn."""

LEVEL: Final = 0.95
"""Share of the resampled scores that lie in an interval."""

_COUNTS_AT_ONCE: Final = 2**21
"""Counts of draws in memory at a time; 16 MB."""


class Interval(NamedTuple):
    """A confidence interval; ``[low, high]`` in JSON."""

    low: float
    high: float


Scores = tuple[dict[str, Any], dict[str, Interval]]
"""Scores (JSON values), and the intervals of some of them, by their path in the scores, joined by dots."""


def resampled_means(
    values: NDArray[np.floating] | NDArray[np.bool_], *, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """Means over n faces drawn with replacement, many times.

    The same n, resamples and seed draw the same faces, so that scores can be computed from the means of several calls.

    Args:
        values: (n,) or (n, m), one row per face.
        resamples: r.
        seed: decides the draws.

    Returns:
        (r,) or (r, m) float64.

    Raises:
        DatasetError: there is no face.
    """
    n = len(values)
    if n == 0:
        raise DatasetError(f"a bootstrap needs the scores of at least one face, got an array of shape {values.shape}")
    generator = np.random.default_rng(seed)
    numbers = values.astype(np.float64)
    means = np.empty((resamples, *values.shape[1:]))
    step = max(1, _COUNTS_AT_ONCE // n)
    for start in range(0, resamples, step):
        block = means[start : start + step]
        drawn = generator.multinomial(n, np.full(n, 1 / n), size=len(block))  # (block, n), how often each face
        block[:] = drawn.astype(np.float64) @ numbers / n
    return means


def percentile_interval(resampled: NDArray[np.float64]) -> Interval:
    """The middle of (r,) resampled scores; NaN, from a draw without a class, is left out."""
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(resampled, (tail, 1 - tail))
    return Interval(float(low), float(high))


def basic_interval(score: float, resampled: NDArray[np.float64], *, lowest: float) -> Interval:
    """The percentile interval mirrored at the score, for a score that noise can only raise.

    The calibration error is one: it sums absolute gaps, and resampling adds noise to each of them, so that nearly all
    resampled scores lie above the score, as the score lies above the truth. Mirroring subtracts as much as resampling
    added.

    Args:
        score: of all faces.
        resampled: (r,) scores.
        lowest: the smallest value of such a score; the interval is cut there.
    """
    low, high = percentile_interval(resampled)
    return Interval(max(lowest, 2 * score - high), max(lowest, 2 * score - low))


def mean_interval(values: NDArray[np.floating] | NDArray[np.bool_], *, seed: int = 0) -> Interval:
    """The interval of the mean of (n,) scores, one per face."""
    return percentile_interval(resampled_means(values, seed=seed))


def join_scores(parts: dict[str, Scores]) -> Scores:
    """One tree of scores from several, by name."""
    scores = {name: part for name, (part, _) in parts.items()}
    intervals = {f"{name}.{path}": each for name, (_, some) in parts.items() for path, each in some.items()}
    return scores, intervals
