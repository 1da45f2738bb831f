import numpy as np
import pytest

from mien.index.bundle.bundle import Bundle
from mien.index.gallery.results import Sample
from mien.index.views.map import STANDARD_DEVIATIONS, ellipse, flat_view, sample_emotions


def test_axes_keep_most_of_the_spread_of_the_centroids(shipped_bundle: Bundle) -> None:
    view = flat_view(shipped_bundle.mixture)
    np.testing.assert_allclose(view.axes @ view.axes.T, np.eye(2), atol=1e-12)
    kept = np.square(view.project(shipped_bundle.mixture.centroids)).sum()
    generator = np.random.default_rng(0)
    for _ in range(50):
        other, _ = np.linalg.qr(generator.normal(size=(64, 2)))
        assert np.square((shipped_bundle.mixture.centroids - view.middle) @ other).sum() < kept


def test_mix_lies_between_its_parts(shipped_bundle: Bundle) -> None:
    view = flat_view(shipped_bundle.mixture)
    a, b = shipped_bundle.mixture.centroids[:2]
    (place_a, place_b, place_mix) = view.project(np.stack([a, b, 0.3 * a + 0.7 * b]))
    np.testing.assert_allclose(place_mix, 0.3 * place_a + 0.7 * place_b)


def test_ellipse_is_the_covariance_of_projected_points(shipped_bundle: Bundle) -> None:
    view, covariance = flat_view(shipped_bundle.mixture), shipped_bundle.mixture.covariances[1]
    shape = ellipse(view, shipped_bundle.mixture.centroids[1], covariance)
    drawn = np.random.default_rng(0).multivariate_normal(shipped_bundle.mixture.centroids[1], covariance, 20_000)
    places = view.project(drawn) - (shape.x, shape.y)
    along = places @ (np.cos(shape.turn), np.sin(shape.turn))
    across = places @ (-np.sin(shape.turn), np.cos(shape.turn))
    assert along.std() * STANDARD_DEVIATIONS == pytest.approx(shape.long, rel=0.03)
    assert across.std() * STANDARD_DEVIATIONS == pytest.approx(shape.short, rel=0.03)
    inside = np.square(along / shape.long) + np.square(across / shape.short) <= 1
    assert inside.mean() == pytest.approx(1 - np.exp(-(STANDARD_DEVIATIONS**2) / 2), abs=0.02)


def test_emotion_is_the_label_or_the_nearest_emotion(shipped_bundle: Bundle) -> None:
    emotions = shipped_bundle.mixture.emotions
    points = shipped_bundle.mixture.centroids[[3, 3, 5]].astype(np.float32)
    sample = Sample(["a", "b", "c"], points, ["fear", None, "joy"], 3)
    assert sample_emotions(shipped_bundle.mixture, sample) == [emotions.index("fear"), 3, 5]
