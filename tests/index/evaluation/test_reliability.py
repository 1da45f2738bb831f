from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.index.evaluation.reliability import (
    BIN_COUNT,
    chance_calibration_error,
    expected_calibration_error,
    reliability_bins,
    signed_gaps,
)
from mien.model.errors import DatasetError

Reals = NDArray[np.float64]


def forecasts(n: int, seed: int = 0) -> tuple[Reals, NDArray[np.int64]]:
    """Posteriors, and labels drawn with just these odds."""
    rng = np.random.default_rng(seed)
    posterior = rng.dirichlet(np.full(8, 0.3), n)
    return posterior, (posterior.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)


@pytest.mark.parametrize("numerator", range(8, 16))
def test_an_edge_belongs_to_the_bin_below_it(numerator: int) -> None:
    edge = np.linspace(0, 1, 16)[numerator]
    bins = reliability_bins(np.array([[edge, 1 - edge]]), np.array([0]))
    assert [bin_.count for bin_ in bins].index(1) == numerator - 1


def test_bins_cover_zero_to_one_and_hold_every_face() -> None:
    posterior, labels = forecasts(400, seed=3)
    bins = reliability_bins(posterior, labels)
    assert len(bins) == BIN_COUNT
    assert (bins[0].lower, bins[-1].upper) == (0, 1)
    assert all(one.upper == other.lower for one, other in pairwise(bins))
    assert sum(bin_.count for bin_ in bins) == len(labels)
    assert (bins[0].count, bins[0].confidence, bins[0].accuracy) == (0, None, None)


def test_a_posterior_that_rounding_lifts_above_one_falls_into_the_last_bin() -> None:
    bins = reliability_bins(np.array([[1 + 1e-7, 0.0]]), np.array([0]))
    assert bins[-1].count == 1


def test_posteriors_of_a_forecaster_that_knows_the_odds_are_calibrated() -> None:
    # A bin of 6,700 faces misses its confidence by some 0.005 by chance.
    posterior, labels = forecasts(100_000)
    honest = expected_calibration_error(reliability_bins(posterior, labels))
    sharpened = posterior**2 / (posterior**2).sum(axis=1, keepdims=True)
    assert honest < 0.01
    assert expected_calibration_error(reliability_bins(sharpened, labels)) > 0.1


def test_gaps_of_the_faces_add_up_to_the_calibration_error() -> None:
    posterior, labels = forecasts(300, seed=1)
    gaps = signed_gaps(posterior, labels)
    assert gaps.shape == (300, BIN_COUNT)
    error = expected_calibration_error(reliability_bins(posterior, labels))
    assert np.abs(gaps.mean(axis=0)).sum() == pytest.approx(error)
    assert ((gaps != 0).sum(axis=1) <= 1).all()


def test_gaps_by_hand() -> None:
    gaps = signed_gaps(np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]]), np.array([0, 1, 1]), bin_count=2)
    np.testing.assert_allclose(gaps, [[0, -0.1], [0, 0.9], [0, -0.2]])


def test_chance_leaves_what_a_binomial_says() -> None:
    """Four faces with a confidence of one half: none, one, ... four right, in 1, 4, 6, 4, 1 of 16 cases."""
    posterior = np.full((4, 2), 0.5)
    expected = (2 * 1 * 0.5 + 2 * 4 * 0.25 + 6 * 0) / 16
    assert chance_calibration_error(posterior, draws=20_000) == pytest.approx(expected, abs=0.005)
    assert chance_calibration_error(np.array([[1.0, 0.0]])) == 0


def test_a_calibrated_forecaster_has_the_error_that_chance_leaves() -> None:
    errors = [expected_calibration_error(reliability_bins(*forecasts(500, seed))) for seed in range(40)]
    assert np.mean(errors) == pytest.approx(chance_calibration_error(forecasts(500)[0]), rel=0.15)


def test_chance_is_reproducible_and_falls_with_the_number_of_faces() -> None:
    few, many = forecasts(200)[0], forecasts(20_000)[0]
    assert chance_calibration_error(few) == chance_calibration_error(few)
    assert chance_calibration_error(many) < 0.2 * chance_calibration_error(few)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(DatasetError, match="shares of 1"):
        chance_calibration_error(np.array([[0.5, 0.6]]))
    with pytest.raises(DatasetError, match="2 labels"):
        signed_gaps(np.full((2, 2), 0.5), np.array([0]))
