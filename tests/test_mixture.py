from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from index.mixture import Mixture, fit_mixture, mahalanobis_distances, posterior_from

EMOTIONS = ("neutral", "happiness", "surprise")


def clouds(count: int, size: int = 5, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three Gaussian clouds that stand 6 apart, of unequal spread."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    centres = 6 * np.eye(3, size)
    spread = np.array([0.5, 1.0, 2.0])
    return (centres[labels] + generator.normal(size=(count, size)) * spread[labels, None]).astype(np.float32), labels


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    return fit_mixture(*clouds(3000), EMOTIONS, sigma=1.0)


def test_centroids_and_weights_are_the_means_and_shares() -> None:
    points, labels = clouds(500)
    mixture = fit_mixture(points, labels, EMOTIONS, sigma=1.0)
    for label in range(3):
        np.testing.assert_allclose(mixture.centroids[label], points[labels == label].mean(axis=0), atol=1e-5)
        assert mixture.weights[label] == pytest.approx((labels == label).mean())


def test_posterior_is_the_softmax_of_squared_distances(mixture: Mixture) -> None:
    points, _ = clouds(50, seed=1)
    for point, posterior in zip(points, mixture.posterior(points), strict=True):
        densities = [np.exp(-((point - centroid) ** 2).sum() / 2) for centroid in mixture.centroids.astype(np.float32)]
        np.testing.assert_allclose(posterior, np.array(densities) / sum(densities), rtol=1e-3, atol=1e-9)


def test_the_nearest_centroid_has_the_largest_posterior(mixture: Mixture) -> None:
    points, _ = clouds(500, seed=2)
    assert (mixture.posterior(points).argmax(axis=1) == mixture.distances(points).argmin(axis=1)).all()


def test_posterior_of_a_point_far_from_everything_is_still_a_distribution(mixture: Mixture) -> None:
    far = np.full((1, 5), 1e4, dtype=np.float32)
    posterior = mixture.posterior(far)
    assert np.isfinite(posterior).all()
    assert posterior.sum() == pytest.approx(1)


def test_equal_distances_give_a_uniform_posterior() -> None:
    np.testing.assert_allclose(posterior_from(np.full((2, 8), 100.0), sigma=0.5), np.full((2, 8), 1 / 8))


def test_mahalanobis_agrees_with_the_inverse_covariance(mixture: Mixture) -> None:
    points, _ = clouds(20, seed=3)
    found = mahalanobis_distances(points, mixture.centroids, mixture.covariances)
    for row, point in enumerate(points.astype(np.float64)):
        for column in range(3):
            difference = point - mixture.centroids[column]
            expected = np.sqrt(difference @ np.linalg.inv(mixture.covariances[column]) @ difference)
            assert found[row, column] == pytest.approx(expected)


def test_typicality_of_faces_like_the_training_faces_is_about_uniform(mixture: Mixture) -> None:
    typical = mixture.typicality(clouds(3000, seed=4)[0])
    for low, high in pairwise((0.0, 0.25, 0.5, 0.75, 1.0)):
        assert ((typical >= low) & (typical <= high)).mean() == pytest.approx(0.25, abs=0.05)


def test_typicality_falls_with_the_distance_and_ends_at_zero(mixture: Mixture) -> None:
    steps = np.array([0.0, 1.0, 2.0, 4.0, 50.0])
    along = mixture.centroids[0] - steps[:, None] * np.ones(5)
    typical = mixture.typicality(along)
    assert (np.diff(typical) <= 0).all()
    assert typical[0] > 0.9
    assert typical[-1] == 0


def test_an_emotion_with_fewer_faces_than_dimensions_has_a_usable_covariance() -> None:
    points, labels = clouds(400, size=16)
    few = np.concatenate([np.flatnonzero(labels != 2), np.flatnonzero(labels == 2)[:4]])
    mixture = fit_mixture(points[few], labels[few], EMOTIONS, sigma=1.0)
    assert np.linalg.eigvalsh(mixture.covariances[2]).min() > 0
    assert np.isfinite(mixture.mahalanobis(points)).all()


def test_an_emotion_without_faces_is_refused() -> None:
    points, labels = clouds(100)
    with pytest.raises(ValueError, match=r"surprise has 0"):
        fit_mixture(points[labels != 2], labels[labels != 2], EMOTIONS, sigma=1.0)
