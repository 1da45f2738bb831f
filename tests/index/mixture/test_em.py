import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from mien.index.mixture.em import GaussianMixture, Prior, fit_gaussian_mixture, log_sum_exp

Points = NDArray[np.float64]


def clouds(count: int, size: int = 3, seed: int = 0) -> tuple[Points, NDArray[np.int64]]:
    """Three Gaussian clouds of unequal weight, spread and shape, 7 apart."""
    generator = np.random.default_rng(seed)
    owner = generator.choice(3, count, p=[0.5, 0.3, 0.2])
    centres = 5 * np.eye(3, size)
    shapes = np.stack([np.eye(size), 0.3 * np.eye(size), np.diag(np.linspace(0.2, 2, size))])
    return centres[owner] + np.einsum("nij,nj->ni", shapes[owner], generator.normal(size=(count, size))), owner


def weak(points: Points, faces: float = 1.0) -> Prior:
    return Prior(np.cov(points, rowvar=False), faces)


def by_the_formula(components: GaussianMixture, point: Points) -> list[float]:
    """Weight times density, from the textbook."""
    found = []
    for weight, mean, covariance in zip(components.weights, components.means, components.covariances, strict=True):
        away = point - mean
        scale = math.sqrt((2 * math.pi) ** len(mean) * np.linalg.det(covariance))
        found.append(weight * math.exp(-0.5 * away @ np.linalg.inv(covariance) @ away) / scale)
    return found


def test_one_component_has_the_mean_and_the_covariance_mixed_with_the_prior() -> None:
    points, _ = clouds(200)
    prior = Prior(2 * np.eye(3), 50)
    found = fit_gaussian_mixture(points, 1, prior).mixture
    own = np.cov(points, rowvar=False, bias=True)
    np.testing.assert_allclose(found.means[0], points.mean(axis=0))
    np.testing.assert_allclose(found.covariances[0], (200 * own + 50 * 2 * np.eye(3)) / 250)
    np.testing.assert_allclose(found.weights, [1])


def test_densities_and_responsibilities_by_the_formula() -> None:
    points, _ = clouds(300)
    found = fit_gaussian_mixture(points, 3, weak(points)).mixture
    for point in points[:10]:
        expected = by_the_formula(found, point)
        np.testing.assert_allclose(np.exp(found.log_joint(point[None])[0]), expected)
        np.testing.assert_allclose(found.responsibilities(point[None])[0], np.array(expected) / sum(expected))
        assert found.log_likelihood(point[None])[0] == pytest.approx(math.log(sum(expected)))


def test_components_of_three_clouds_are_found() -> None:
    points, owner = clouds(3000)
    fit = fit_gaussian_mixture(points, 3, weak(points))
    assert fit.converged
    assert adjusted_rand_score(fit.mixture.log_joint(points).argmax(axis=1), owner) > 0.98
    groups = [points[owner == number] for number in range(3)]
    away = np.linalg.norm(fit.mixture.means[:, None] - np.stack([group.mean(axis=0) for group in groups]), axis=2)
    for found, real in zip(*linear_sum_assignment(away), strict=True):
        assert away[found, real] < 0.1
        assert fit.mixture.weights[found] == pytest.approx(len(groups[real]) / 3000, abs=0.01)
        np.testing.assert_allclose(fit.mixture.covariances[found], np.cov(groups[real], rowvar=False), atol=0.15)


@pytest.mark.parametrize("faces", [0.01, 5.0, 500.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_objective_never_decreases(faces: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    points = generator.standard_t(2, (150, 6)) @ generator.normal(size=(6, 6))  # not from a mixture, with outliers
    shares = generator.random(150)
    fit = fit_gaussian_mixture(points, 4, weak(points, faces), weights=shares, seed=seed, restarts=1, tolerance=1e-9)
    assert len(fit.objective) > 5
    assert (np.diff(fit.objective) >= -1e-9 * np.abs(fit.objective[:-1])).all()


def test_objective_is_the_penalised_log_likelihood() -> None:
    points, _ = clouds(60)
    prior = weak(points, 7)
    fit = fit_gaussian_mixture(points, 2, prior)
    found = fit.mixture
    penalty = sum(
        np.log(np.linalg.det(covariance)) + np.trace(np.linalg.inv(covariance) @ prior.covariance)
        for covariance in found.covariances
    )
    expected = sum(math.log(sum(by_the_formula(found, point))) for point in points) - 0.5 * 7 * penalty
    assert fit.objective[-1] == pytest.approx(expected)


def test_no_small_step_from_the_fit_is_better() -> None:
    points, _ = clouds(150, size=2)
    prior = weak(points, 3)
    best = fit_gaussian_mixture(points, 2, prior, tolerance=1e-13, max_steps=5000)

    def objective(found: GaussianMixture) -> float:
        penalty = sum(
            np.log(np.linalg.det(covariance)) + np.trace(np.linalg.solve(covariance, prior.covariance))
            for covariance in found.covariances
        )
        return float(found.log_likelihood(points).sum() - 0.5 * prior.faces * penalty)

    generator = np.random.default_rng(0)
    assert objective(best.mixture) == pytest.approx(best.objective[-1])
    for _ in range(50):
        turn = 1e-3 * generator.normal(size=(2, 2, 2))
        near = GaussianMixture(
            best.mixture.weights + np.array([1e-3, -1e-3]) * generator.normal(),
            best.mixture.means + 1e-3 * generator.normal(size=(2, 2)),
            best.mixture.covariances + turn + turn.transpose(0, 2, 1),
        )
        assert objective(near) < best.objective[-1]


def test_weight_of_2_equals_the_point_twice() -> None:
    points, owner = clouds(120)
    prior = weak(points)
    weighted = fit_gaussian_mixture(points, 3, prior, weights=1.0 + (np.arange(120) < 40), start=owner)
    doubled = fit_gaussian_mixture(
        np.concatenate((points[:40], points)), 3, prior, start=np.concatenate((owner[:40], owner))
    )
    np.testing.assert_allclose(weighted.mixture.means, doubled.mixture.means, atol=1e-6)
    np.testing.assert_allclose(weighted.mixture.covariances, doubled.mixture.covariances, atol=1e-6)


def test_points_without_weight_do_not_count() -> None:
    points, owner = clouds(120)
    shares = (np.arange(120) < 100).astype(np.float64)
    with_them = fit_gaussian_mixture(points, 3, weak(points), weights=shares, start=owner)
    without = fit_gaussian_mixture(points[:100], 3, weak(points), start=owner[:100])
    np.testing.assert_allclose(with_them.mixture.means, without.mixture.means)


def test_covariance_of_few_faces_in_many_dimensions_is_positive_definite() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(40, 64)) @ np.diag(np.logspace(0, -4, 64))
    points[:5] = points[0]  # copies, which have no spread
    prior = Prior(np.diag(np.logspace(0, -8, 64)), 66)
    fit = fit_gaussian_mixture(points, 4, prior)
    assert np.isfinite(fit.objective).all()
    # In no direction is a variance smaller than the prior's part of it.
    for weight, covariance in zip(fit.mixture.weights, fit.mixture.covariances, strict=True):
        least = 66 / (66 + 40 * weight) * prior.covariance
        assert np.linalg.eigvalsh(covariance - 0.999 * least).min() > -1e-12
    assert np.isfinite(fit.mixture.log_likelihood(points)).all()


def test_copies_of_one_point_can_be_fitted() -> None:
    fit = fit_gaussian_mixture(np.ones((50, 4)), 3, Prior(np.eye(4), 2))
    assert np.isfinite(fit.objective).all()
    np.testing.assert_allclose(fit.mixture.means, 1)


def test_responsibilities_of_points_far_from_everything_sum_to_1() -> None:
    points, _ = clouds(200)
    found = fit_gaussian_mixture(points, 3, weak(points)).mixture
    far = np.array([[1e5, 0, 0], [-1e5, 1e5, 3.0]])
    np.testing.assert_allclose(found.responsibilities(far).sum(axis=1), 1)
    assert np.isfinite(found.log_likelihood(far)).all()


def test_posterior_does_not_depend_on_the_unit() -> None:
    points, owner = clouds(400)
    prior, small = weak(points), Prior(1e-12 * np.cov(points, rowvar=False), 1.0)
    here = fit_gaussian_mixture(points, 3, prior, start=owner).mixture
    there = fit_gaussian_mixture(1e-6 * points + 1e-3, 3, small, start=owner).mixture
    np.testing.assert_allclose(there.means, 1e-6 * here.means + 1e-3, rtol=1e-6)
    np.testing.assert_allclose(there.covariances, 1e-12 * here.covariances, rtol=1e-4, atol=1e-17)


def test_same_seed_gives_the_same_components() -> None:
    points, _ = clouds(200)
    one, same = (fit_gaussian_mixture(points, 3, weak(points), seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.mixture.means, same.mixture.means)


def test_more_restarts_are_never_worse() -> None:
    points = np.random.default_rng(0).normal(size=(300, 2))
    once = fit_gaussian_mixture(points, 4, weak(points), restarts=1)
    often = fit_gaussian_mixture(points, 4, weak(points), restarts=8)
    assert often.objective[-1] >= once.objective[-1]


def test_components_keep_the_numbers_of_the_start() -> None:
    points, owner = clouds(900)
    for numbers in ([0, 1, 2], [2, 0, 1]):
        start = np.array(numbers)[owner]
        found = fit_gaussian_mixture(points, 3, weak(points), start=start).mixture
        assert (found.log_joint(points).argmax(axis=1) == start).mean() > 0.98


def test_components_beyond_the_start_come_from_seeds() -> None:
    points, owner = clouds(900)
    together = np.minimum(owner, 1)  # the last two clouds as one
    found = fit_gaussian_mixture(points, 3, weak(points), start=together).mixture
    now = found.log_joint(points).argmax(axis=1)
    assert adjusted_rand_score(now, owner) > 0.98
    assert (now[owner == 0] == 0).mean() > 0.98


def test_log_sum_exp_neither_overflows_nor_underflows() -> None:
    rows = np.array([[1000.0, 1000.0], [-1000.0, -1001.0], [0.0, -np.inf]])
    expected = [1000 + math.log(2), -1000 + math.log1p(math.exp(-1)), 0]
    np.testing.assert_allclose(log_sum_exp(rows), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.full((10, 3), np.nan)}, "expected finite points"),
        ({"points": np.zeros(10)}, "expected finite points"),
        ({"weights": np.ones(9)}, "one weight of 0 or more for each of 10 points"),
        ({"weights": -np.ones(10)}, "one weight of 0 or more"),
        ({"count": 0}, "from 1 to 10 components, got 0"),
        ({"count": 11}, "from 1 to 10 components, got 11"),
        ({"count": 3, "weights": np.eye(10)[0] + np.eye(10)[1]}, "from 1 to 2 components, got 3"),
        ({"prior": Prior(np.eye(2), 1)}, r"expected a prior \(3, 3\)"),
        ({"prior": Prior(np.eye(3), 0)}, "for more than 0 faces"),
        ({"start": np.full(10, 2)}, "a start of 10 components from 0 to 1"),
        ({"start": np.zeros(9, dtype=np.int64)}, "a start of 10 components"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"points": np.arange(30.0).reshape(10, 3), "count": 2, "prior": Prior(np.eye(3), 1)}
    with pytest.raises(ValueError, match=message):
        fit_gaussian_mixture(**(arguments | change))  # type: ignore[arg-type]
