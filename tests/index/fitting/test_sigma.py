import numpy as np
import pytest
from numpy.typing import NDArray

from mien.index.fitting.sigma import PRECISION, WIDEST, fit_sigma, scaled_posterior
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
def test_the_sigma_that_labels_were_drawn_with_is_found(sigma: float) -> None:
    assert fit_sigma(*faces(40_000, sigma), start=1.0) == pytest.approx(sigma, rel=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_no_other_sigma_is_likelier(seed: int) -> None:
    distances, targets = faces(300, 0.8, seed)
    votes = 0.7 * targets + 0.3 * np.random.default_rng(seed).dirichlet(np.ones(4), 300)
    for wanted in (targets, votes):
        found = fit_sigma(distances, wanted, start=1.3)

        def cost(sigma: float, wanted: Reals = wanted) -> float:
            return float(-(wanted * np.log(posterior_from(distances, sigma))).sum(axis=1).mean())

        grid = np.geomspace(0.3, 5, 400)
        assert cost(found) <= min(map(cost, grid)) + 1e-9
        assert found == pytest.approx(grid[np.argmin([cost(sigma) for sigma in grid])], rel=0.01)


def test_the_start_does_not_decide() -> None:
    distances, targets = faces(500, 0.8)
    found = [fit_sigma(distances, targets, start) for start in (0.1, 1.0, 8.0)]
    assert found == pytest.approx([found[0]] * 3, rel=2 * PRECISION)


def test_the_unit_of_distance_does_not_matter() -> None:
    distances, targets = faces(500, 0.8)
    one, other = fit_sigma(distances, targets, 1.0), fit_sigma(100 * distances, targets, 100.0)
    assert other == pytest.approx(100 * one, rel=2 * PRECISION)


def test_faces_that_are_all_right_end_at_the_smallest_sigma() -> None:
    distances = np.tile([0.1, 2.0, 2.0], (5, 1))
    found = fit_sigma(distances, np.eye(3)[np.zeros(5, dtype=int)], start=1.0)
    assert found == pytest.approx(1 / WIDEST, rel=1e-3)
    assert np.isfinite(posterior_from(distances, found)).all()


def test_some_faces_are_answered_for_by_others() -> None:
    distances, targets = faces(100, 0.8)
    others = np.arange(100) < 60
    expected = posterior_from(distances[~others], fit_sigma(distances[:60], targets[:60], 1.0))
    np.testing.assert_array_equal(scaled_posterior(distances, targets, 1.0, others, ~others), expected)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DatasetError, match="one target per face"):
        fit_sigma(np.ones((3, 2)), np.ones((2, 2)), 1.0)
    with pytest.raises(DatasetError, match="one target per face"):
        fit_sigma(np.ones((0, 2)), np.ones((0, 2)), 1.0)
