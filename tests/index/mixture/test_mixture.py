import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.index.mixture.background import Background
from mien.index.mixture.em import FEW_POINTS
from mien.index.mixture.mixture import (
    Calibration,
    Mixture,
    fit_mixture,
    mahalanobis_distances,
    posterior_from,
    quantile_table,
    typicality_from,
)

EMOTIONS = ("neutral", "happiness", "surprise")


def clouds(count: int, size: int = 5, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three Gaussian clouds, 6 apart, of unequal spread."""
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


def test_many_points_are_measured_as_each_is_alone(mixture: Mixture) -> None:
    points = np.random.default_rng(5).normal(size=(FEW_POINTS + 1, mixture.centroids.shape[1]))
    for measure in (mixture.distances, mixture.log_density):
        alone = np.concatenate([measure(point[None]) for point in points])
        np.testing.assert_allclose(measure(points), alone, rtol=1e-12)
        np.testing.assert_allclose(measure(points[:-1]), alone[:-1], rtol=1e-12)


def test_nearest_centroid_has_the_largest_posterior(mixture: Mixture) -> None:
    points, _ = clouds(500, seed=2)
    assert (mixture.posterior(points).argmax(axis=1) == mixture.distances(points).argmin(axis=1)).all()


def test_posterior_of_a_point_far_from_everything_sums_to_1(mixture: Mixture) -> None:
    far = np.full((1, 5), 1e4, dtype=np.float32)
    posterior = mixture.posterior(far)
    assert np.isfinite(posterior).all()
    assert posterior.sum() == pytest.approx(1)


def test_prior_of_the_data_weighs_the_densities(mixture: Mixture) -> None:
    points, _ = clouds(50, seed=1)
    for point, posterior in zip(points, mixture.posterior(points, "data"), strict=True):
        densities = np.exp(-np.square(point - mixture.centroids).sum(axis=1) / 2) * mixture.weights
        np.testing.assert_allclose(posterior, densities / densities.sum(), rtol=1e-3, atol=1e-9)
    np.testing.assert_array_equal(mixture.posterior(points), mixture.posterior(points, "uniform"))


def test_each_prior_has_its_sigma(mixture: Mixture, calibrated: Mixture) -> None:
    assert mixture.sigma_under("data") == mixture.sigma
    assert calibrated.calibration is not None
    assert calibrated.sigma_under("data") == calibrated.sigma == 0.5, "that calibration has none for the data's prior"
    both = replace(calibrated, calibration=replace(calibrated.calibration, data_sigma=0.7))
    points, _ = clouds(20, seed=4)
    expected = posterior_from(both.distances(points), 0.7, both.weights)
    np.testing.assert_array_equal(both.posterior(points, "data"), expected)
    np.testing.assert_array_equal(both.posterior(points), calibrated.posterior(points))
    np.testing.assert_array_equal(both.typicality(points), calibrated.typicality(points))


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


def test_covariance_of_fewer_faces_than_dimensions_is_positive_definite() -> None:
    points, labels = clouds(400, size=16)
    few = np.concatenate([np.flatnonzero(labels != 2), np.flatnonzero(labels == 2)[:4]])
    mixture = fit_mixture(points[few], labels[few], EMOTIONS, sigma=1.0)
    assert np.linalg.eigvalsh(mixture.covariances[2]).min() > 0
    assert np.isfinite(mixture.mahalanobis(points)).all()


def test_an_emotion_without_faces_is_refused() -> None:
    points, labels = clouds(100)
    with pytest.raises(ValueError, match=r"surprise has 0"):
        fit_mixture(points[labels != 2], labels[labels != 2], EMOTIONS, sigma=1.0)


@pytest.fixture(scope="module")
def calibrated(mixture: Mixture) -> Mixture:
    """With a background at 4 on the fourth axis that is as dense there as the emotions are at their centroids."""
    background = Background(np.array([0, 0, 0, 4.0, 0]), np.eye(5), floor=-20.0)
    faces = clouds(4000, seed=5)[0]
    strange = background.log_density(faces) - mixture.log_density(faces)
    calibration = Calibration(1.0, 1.5, background, quantile_table(strange), min_typicality=0.05)
    return replace(mixture, sigma=0.5, calibration=calibration)


def test_density_is_that_of_equally_likely_gaussians(mixture: Mixture) -> None:
    point = clouds(1, seed=6)[0]
    densities = []
    for centroid, covariance in zip(mixture.centroids, mixture.covariances, strict=True):
        difference = point[0] - centroid
        exponent = -0.5 * difference @ np.linalg.inv(covariance) @ difference
        densities.append(math.exp(exponent) / math.sqrt((2 * math.pi) ** 5 * np.linalg.det(covariance)))
    assert mixture.log_density(point)[0] == pytest.approx(math.log(np.mean(densities)))


def test_outlier_score_of_a_calibrated_mixture_is_higher_where_the_background_is_denser(calibrated: Mixture) -> None:
    assert calibrated.calibration is not None
    points = np.concatenate([calibrated.centroids, calibrated.calibration.background.centroid[None]])
    strange = calibrated.outlier_score(points)
    assert (strange[:3] < 0).all()
    assert strange[3] > 0
    expected = calibrated.calibration.background.log_density(points) - calibrated.log_density(points)
    np.testing.assert_allclose(strange, expected)


def test_calibrated_typicality_is_uniform_over_similar_faces(calibrated: Mixture) -> None:
    typical = calibrated.typicality(clouds(4000, seed=7)[0])
    for low, high in pairwise((0.0, 0.05, 0.25, 0.5, 0.75, 1.0)):
        assert ((typical >= low) & (typical < high)).mean() == pytest.approx(high - low, abs=0.02)
    assert (typical >= calibrated.min_typicality).mean() == pytest.approx(0.95, abs=0.01)


def test_points_far_from_everything_are_outliers(calibrated: Mixture) -> None:
    """Also in directions in which the emotions are wider than the background."""
    directions = np.random.default_rng(0).normal(size=(100, 5))
    far = 200 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    assert (calibrated.typicality(far) == 0).all()


def test_calibration_changes_no_emotion(mixture: Mixture, calibrated: Mixture) -> None:
    points, _ = clouds(300, seed=8)
    assert (calibrated.posterior(points).argmax(axis=1) == mixture.posterior(points).argmax(axis=1)).all()
    np.testing.assert_array_equal(calibrated.posterior(points), posterior_from(mixture.distances(points), 0.5))
    np.testing.assert_array_equal(calibrated.vote_shares(points), posterior_from(mixture.distances(points), 1.5))
    assert (calibrated.sigma, calibrated.trained_sigma, calibrated.votes_sigma) == (0.5, 1.0, 1.5)


def test_uncalibrated_mixture_has_one_sigma_and_the_scale_of_training(mixture: Mixture) -> None:
    assert mixture.trained_sigma == mixture.votes_sigma == mixture.sigma == 1.0
    assert mixture.min_typicality == pytest.approx(0.05)
    points, _ = clouds(50, seed=9)
    np.testing.assert_array_equal(mixture.outlier_score(points), mixture.mahalanobis(points).min(axis=1))
    np.testing.assert_array_equal(mixture.vote_shares(points), mixture.posterior(points))


def test_typicality_is_the_share_of_higher_outlier_scores() -> None:
    scores = np.random.default_rng(0).exponential(size=500)
    table = quantile_table(scores)
    for value in (0.01, 0.3, 1.0, 2.5):
        assert typicality_from(np.array([value]), table)[0] == pytest.approx((scores > value).mean(), abs=0.004)
    assert typicality_from(np.array([-1.0, 99.0]), table).tolist() == [1.0, 0.0]


def test_typical_distances_are_those_of_two_random_faces(mixture: Mixture) -> None:
    points, labels = clouds(3000)
    one, other = np.random.default_rng(1).integers(0, 3000, (2, 40_000))
    squares = np.square(points[one] - points[other], dtype=np.float64).sum(axis=1)
    same = labels[one] == labels[other]
    expected = [math.sqrt(squares[same].mean()), math.sqrt(squares[~same].mean())]
    assert mixture.typical_distances == pytest.approx(expected, rel=0.03)


class TestIntensity:
    def test_neutral_is_0_and_the_centroid_1(self, mixture: Mixture) -> None:
        neutral, other = mixture.centroids[0], mixture.centroids[1]
        points = np.stack([neutral, (neutral + other) / 2, other, neutral + 2 * (other - neutral)])
        assert mixture.intensity(points, np.ones(4, np.int64)) == pytest.approx([0, 0.5, 1, 2])

    def test_only_the_place_on_the_line_counts(self, mixture: Mixture) -> None:
        line = mixture.centroids[1] - mixture.centroids[0]
        across = np.ones_like(line) - line * line.sum() / (line @ line)
        point = mixture.centroids[0] + 0.7 * line + 5 * across
        assert mixture.intensity(point[None], np.array([1])) == pytest.approx([0.7])

    def test_face_that_is_named_is_above_a_half(self, mixture: Mixture) -> None:
        points, _ = clouds(500, seed=4)
        named = mixture.distances(points).argmin(axis=1)
        assert (mixture.intensity(points, named)[named > 0] > 0.5).all()
        assert np.isnan(mixture.intensity(points, named)[named == 0]).all()

    def test_mixture_without_neutral_has_none(self, mixture: Mixture) -> None:
        other = replace(mixture, emotions=("joy", "grief", "rage"))
        assert np.isnan(other.intensity(np.ones((2, 5)), np.array([0, 1]))).all()
