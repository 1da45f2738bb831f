import numpy as np
import pytest
from numpy.typing import NDArray

from mien.index.mixture.calibration import SIGMA_RANGE, fit_sigma, threshold_keeping
from mien.index.mixture.mixture import posterior_from
from mien.model.errors import DatasetError

Reals = NDArray[np.float64]


def faces(n: int, sigma: float, seed: int = 0) -> tuple[Reals, Reals]:
    """Distances to four centroids, and one-hot labels drawn from the posterior under ``sigma``."""
    rng = np.random.default_rng(seed)
    distances = rng.uniform(0.2, 3, (n, 4))
    posterior = posterior_from(distances, sigma)
    labels = (posterior.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return distances, np.eye(4)[labels]


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.7])
def test_sigma_of_the_labels_is_found(sigma: float) -> None:
    assert fit_sigma(*faces(40_000, sigma), start=1.0) == pytest.approx(sigma, rel=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_no_other_sigma_has_a_higher_likelihood(seed: int) -> None:
    distances, targets = faces(300, 0.8, seed)
    votes = 0.7 * targets + 0.3 * np.random.default_rng(seed).dirichlet(np.ones(4), 300)
    for wanted in (targets, votes):
        found = fit_sigma(distances, wanted, start=1.3)

        def cost(sigma: float, wanted: Reals = wanted) -> float:
            return float(-(wanted * np.log(posterior_from(distances, sigma))).sum(axis=1).mean())

        grid = np.geomspace(0.3, 5, 400)
        assert cost(found) <= min(map(cost, grid)) + 1e-9
        assert found == pytest.approx(grid[np.argmin([cost(sigma) for sigma in grid])], rel=0.01)


def test_sigma_is_found_under_weights() -> None:
    rng = np.random.default_rng(0)
    weights = np.array([0.6, 0.3, 0.08, 0.02])
    distances = rng.uniform(0.2, 3, (40_000, 4))
    drawn = (posterior_from(distances, 0.8, weights).cumsum(axis=1) > rng.random((40_000, 1))).argmax(axis=1)
    assert fit_sigma(distances, np.eye(4)[drawn], 1.0, weights) == pytest.approx(0.8, rel=0.03)
    assert fit_sigma(distances, np.eye(4)[drawn], 1.0) > 0.9


def test_sigma_does_not_depend_on_the_start() -> None:
    distances, targets = faces(500, 0.8)
    found = [fit_sigma(distances, targets, start) for start in (0.1, 1.0, 8.0)]
    assert found == pytest.approx([found[0]] * 3, rel=1e-4)


def test_sigma_scales_with_the_unit_of_distance() -> None:
    distances, targets = faces(500, 0.8)
    one, other = fit_sigma(distances, targets, 1.0), fit_sigma(100 * distances, targets, 100.0)
    assert other == pytest.approx(100 * one, rel=1e-4)


def test_sigma_is_the_smallest_where_all_faces_are_nearest_to_their_label() -> None:
    distances = np.tile([0.1, 2.0, 2.0], (5, 1))
    found = fit_sigma(distances, np.eye(3)[np.zeros(5, dtype=int)], start=1.0)
    assert found == pytest.approx(1 / SIGMA_RANGE, rel=1e-3)
    assert np.isfinite(posterior_from(distances, found)).all()


def test_targets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DatasetError, match="one target per face"):
        fit_sigma(np.ones((3, 2)), np.ones((2, 2)), 1.0)
    with pytest.raises(DatasetError, match="one target per face"):
        fit_sigma(np.ones((0, 2)), np.ones((0, 2)), 1.0)


@pytest.mark.parametrize("share", [0.001, 0.07, 0.29, 0.5, 0.9, 0.95, 0.999, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_threshold_is_the_highest_that_keeps_the_share(seed: int, share: float) -> None:
    faces = np.random.default_rng(seed).normal(0.7, 1, 80).round(1)  # with ties
    keeping = [value for value in faces if np.mean(faces >= value) >= share]
    assert threshold_keeping(faces, share) == max(keeping)


def test_threshold_is_exact_in_spite_of_rounding() -> None:
    assert 0.07 * 100 > 7  # in floating point
    assert threshold_keeping(np.arange(100.0), 0.07) == 93


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_share_to_keep_must_be_above_0_and_up_to_1(share: float) -> None:
    with pytest.raises(DatasetError, match=f"above 0 and up to 1, got {share}"):
        threshold_keeping(np.array([1.0]), share)


def test_threshold_needs_typicality_without_nan() -> None:
    with pytest.raises(DatasetError, match="one or more faces"):
        threshold_keeping(np.array([]), 0.5)
    with pytest.raises(DatasetError, match="one or more faces"):
        threshold_keeping(np.array([0.5, np.nan]), 0.5)
