import numpy as np
import pytest

from mien.index.bundle.bundle import Bundle, load_bundle
from mien.index.bundle.default import default_bundle
from mien.index.gallery.results import Sample
from mien.index.views.map import STANDARD_DEVIATIONS, ellipse, flat_view, sample_emotions


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(default_bundle())


def test_axes_keep_most_of_the_spread_of_the_centroids(bundle: Bundle) -> None:
    view = flat_view(bundle.mixture)
    np.testing.assert_allclose(view.axes @ view.axes.T, np.eye(2), atol=1e-12)
    kept = np.square(view.project(bundle.mixture.centroids)).sum()
    generator = np.random.default_rng(0)
    for _ in range(50):
        other, _ = np.linalg.qr(generator.normal(size=(64, 2)))
        assert np.square((bundle.mixture.centroids - view.middle) @ other).sum() < kept


def test_mix_lies_between_its_parts(bundle: Bundle) -> None:
    view = flat_view(bundle.mixture)
    a, b = bundle.mixture.centroids[:2]
    (place_a, place_b, place_mix) = view.project(np.stack([a, b, 0.3 * a + 0.7 * b]))
    np.testing.assert_allclose(place_mix, 0.3 * place_a + 0.7 * place_b)


def test_ellipse_is_the_covariance_of_projected_points(bundle: Bundle) -> None:
    view, covariance = flat_view(bundle.mixture), bundle.mixture.covariances[1]
    shape = ellipse(view, bundle.mixture.centroids[1], covariance)
    drawn = np.random.default_rng(0).multivariate_normal(bundle.mixture.centroids[1], covariance, 20_000)
    places = view.project(drawn) - (shape.x, shape.y)
    along = places @ (np.cos(shape.turn), np.sin(shape.turn))
    across = places @ (-np.sin(shape.turn), np.cos(shape.turn))
    assert along.std() * STANDARD_DEVIATIONS == pytest.approx(shape.long, rel=0.03)
    assert across.std() * STANDARD_DEVIATIONS == pytest.approx(shape.short, rel=0.03)
    inside = np.square(along / shape.long) + np.square(across / shape.short) <= 1
    assert inside.mean() == pytest.approx(1 - np.exp(-(STANDARD_DEVIATIONS**2) / 2), abs=0.02)


def test_emotion_is_the_label_or_the_nearest_emotion(bundle: Bundle) -> None:
    emotions = bundle.mixture.emotions
    points = bundle.mixture.centroids[[3, 3, 5]].astype(np.float32)
    sample = Sample(["a", "b", "c"], points, ["fear", None, "joy"], 3)
    assert sample_emotions(bundle.mixture, sample) == [emotions.index("fear"), 3, 5]
