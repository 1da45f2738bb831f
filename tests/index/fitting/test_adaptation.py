import math

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.index.fitting.adaptation import (
    NEW_STRENGTH,
    STRENGTHS,
    AdaptationFaces,
    adapt_mixture,
    choose_strength,
    move_components,
    move_sub_classes,
)
from mien.index.mixture.background import Background
from mien.index.mixture.mixture import PRIOR_FACES, Calibration, Mixture, fit_mixture, quantile_table
from mien.index.mixture.sub_classes import SubClass, SubClasses

EMOTIONS = ("neutral", "happiness", "surprise")
SIZE = 6


def draw(centres: NDArray[np.float64], each: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    labels = np.repeat(np.arange(len(centres)), each)
    return centres[labels] + np.random.default_rng(seed).normal(0, 0.4, (len(labels), centres.shape[1])), labels


CENTRES = 3.0 * np.eye(4, SIZE)


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    points, labels = draw(CENTRES[:3], 400, 0)
    fitted = fit_mixture(points, labels, EMOTIONS, sigma=0.7)
    background = Background(np.zeros(SIZE), np.eye(SIZE), -30.0)
    table = quantile_table(background.log_density(points) - fitted.log_density(points))
    return Mixture(
        fitted.emotions,
        fitted.centroids,
        fitted.covariances,
        fitted.weights,
        fitted.sigma,
        fitted.typical,
        Calibration(0.7, 0.9, background, table, 0.05),
    )


@pytest.fixture(scope="module")
def gallery() -> NDArray[np.float64]:
    return draw(CENTRES[:3], 100, 9)[0]


def faces_of(
    centres: NDArray[np.float64], each: int, seed: int, emotions: tuple[str, ...] = EMOTIONS
) -> AdaptationFaces:
    points, labels = draw(centres, each, seed)
    return AdaptationFaces(points, labels, np.arange(len(labels)), emotions)


def test_centroid_is_the_posterior_mean(mixture: Mixture) -> None:
    faces = faces_of(CENTRES[:2] + 1, 4, 1)
    moved = move_components(mixture, faces, 3.0)
    for label in range(2):
        total = 3.0 * mixture.centroids[label]
        for point, own in zip(faces.embeddings, faces.labels, strict=True):
            total = total + point * (own == label)
        np.testing.assert_allclose(moved.centroids[label], total / (3 + 4))
    np.testing.assert_array_equal(moved.centroids[2], mixture.centroids[2])  # it has no face
    np.testing.assert_array_equal(moved.covariances, mixture.covariances)
    expected = (PRIOR_FACES * mixture.weights + [4, 4, 0]) / (PRIOR_FACES + 8)
    np.testing.assert_allclose(moved.weights, expected)
    np.testing.assert_array_equal(move_components(mixture, faces, math.inf).centroids, mixture.centroids)


def test_new_emotion_has_a_component(mixture: Mixture) -> None:
    points = draw(CENTRES[3:], 10, 2)[0]
    faces = AdaptationFaces(points, np.full(10, 3), np.arange(10), (*EMOTIONS, "wink"))
    moved = move_components(mixture, faces, math.inf)
    assert moved.emotions == (*EMOTIONS, "wink")
    middle = mixture.centroids.mean(axis=0)
    np.testing.assert_allclose(moved.centroids[3], (NEW_STRENGTH * middle + points.sum(axis=0)) / (NEW_STRENGTH + 10))
    np.testing.assert_array_equal(moved.centroids[:3], mixture.centroids)
    assert np.linalg.eigvalsh(moved.covariances[3]).min() > 0
    assert moved.weights[3] == pytest.approx(10 / (PRIOR_FACES + 10))


def test_strength_follows_the_distance_of_the_domain(mixture: Mixture) -> None:
    same = choose_strength(mixture, faces_of(CENTRES[:3], 30, 3))
    shift = np.full(SIZE, 0.9) * np.array([1, -1, 1, -1, 1, -1])
    other = choose_strength(mixture, faces_of(CENTRES[:3] + 0.4 * CENTRES[[1, 2, 0]] + shift, 30, 3))
    assert other in STRENGTHS
    assert other < 10 < same
    one_group = AdaptationFaces(np.zeros((4, SIZE)), np.arange(4) % 3, np.zeros(4, dtype=np.int64), EMOTIONS)
    assert choose_strength(mixture, one_group) == math.inf


def test_figures_are_those_of_faces_that_were_left_out(mixture: Mixture, gallery: NDArray[np.float64]) -> None:
    """One wrong label in a hundred moves no centroid to its own face."""
    faces = faces_of(CENTRES[:3] + 0.5 * CENTRES[[1, 2, 0]], 20, 4)
    faces.labels[0] = 2
    adapted = adapt_mixture(mixture, faces, gallery)
    assert adapted.distances.shape == (60, 3)
    assert adapted.distances[0].argmin() != 2
    served = adapted.mixture.distances(faces.embeddings)
    assert (adapted.distances[np.arange(60), faces.labels] > served[np.arange(60), faces.labels]).mean() > 0.8


def test_new_emotion_is_named_and_typical(mixture: Mixture, gallery: NDArray[np.float64]) -> None:
    points, _ = draw(CENTRES[3:], 10, 5)
    faces = AdaptationFaces(points, np.full(10, 3), np.arange(10), (*EMOTIONS, "wink"))
    adapted = adapt_mixture(mixture, faces, gallery).mixture
    fresh, labels = draw(CENTRES, 100, 6)
    named = adapted.distances(fresh).argmin(axis=1)
    assert (named == labels).mean() > 0.95
    winks = labels == 3
    assert (mixture.typicality(fresh[winks]) >= mixture.min_typicality).mean() < 0.2
    assert (adapted.typicality(fresh[winks]) >= adapted.min_typicality).mean() > 0.8
    known = [(each.typicality(fresh[~winks]) >= each.min_typicality).mean() for each in (mixture, adapted)]
    assert known[1] == pytest.approx(known[0], abs=0.03)
    assert adapted.calibration is not None
    assert (np.diff(adapted.calibration.outlier_scores) >= 0).all()


def test_sigma_moves_little_with_few_faces(mixture: Mixture, gallery: NDArray[np.float64]) -> None:
    noisy = [faces_of(CENTRES[:3], each, 7) for each in (5, 100)]
    for faces in noisy:
        faces.embeddings[:] += np.random.default_rng(8).normal(0, 1.5, faces.embeddings.shape)
    few, many = (adapt_mixture(mixture, faces, gallery).mixture for faces in noisy)
    assert mixture.sigma < few.sigma < many.sigma
    assert many.votes_sigma / mixture.votes_sigma == pytest.approx(many.sigma / mixture.sigma)
    assert many.trained_sigma == mixture.trained_sigma


def test_sub_classes_move_with_their_emotion(mixture: Mixture) -> None:
    votes = np.zeros(10)
    each = tuple(
        SubClass(f"{name}/1", name, 1.0, mixture.centroids[row], np.eye(SIZE), (), votes, votes)
        for row, name in enumerate(EMOTIONS)
    )
    before = SubClasses(EMOTIONS, each, {"a": 1}, (1, 1, 2))
    faces = AdaptationFaces(
        np.concatenate([draw(CENTRES[1:2] + 1, 6, 1)[0], draw(CENTRES[3:], 6, 1)[0]]),
        np.repeat([1, 3], 6),
        np.arange(12),
        (*EMOTIONS, "wink"),
    )
    after = move_components(mixture, faces, 3.0)
    moved = move_sub_classes(mixture, after, before)
    assert [one.id for one in moved.each] == ["neutral/1", "happiness/1", "surprise/1", "wink/1"]
    np.testing.assert_allclose(np.stack([one.centroid for one in moved.each]), after.centroids)
    assert (moved.of_face, moved.highest) == ({"a": 1}, (1, 1, 2, 1))
