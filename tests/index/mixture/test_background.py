import math

import numpy as np
import pytest

from mien.index.mixture.background import FLOOR_SHARE, Background, fit_background


def test_density_is_a_gaussian_on_a_floor() -> None:
    background = Background(np.array([1.0, 0.0]), np.diag([4.0, 1.0]), floor=-6.0)
    points = np.array([[1.0, 0.0], [3.0, 0.0], [1e3, 0.0]], dtype=np.float32)
    peak = 1 / (2 * math.pi * 2)
    expected = [math.log(peak + math.exp(-6)), math.log(peak * math.exp(-0.5) + math.exp(-6)), -6.0]
    assert background.log_density(points).tolist() == pytest.approx(expected)


def test_background_is_fitted_on_outliers_and_its_floor_on_faces() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal([2.0, -1.0, 0.0], [1.0, 0.5, 2.0], (5000, 3)).astype(np.float32)
    densities = np.linspace(-20, 10, 1001)
    background = fit_background(points, densities)
    np.testing.assert_allclose(background.centroid, [2, -1, 0], atol=0.1)
    np.testing.assert_allclose(background.covariance, np.diag([1, 0.25, 4]), atol=0.2)
    assert (densities < background.floor).mean() == pytest.approx(FLOOR_SHARE, abs=0.001)


def test_background_of_equal_pictures_is_finite() -> None:
    points = np.zeros((10, 4))
    points[:, 0] = np.arange(10)
    background = fit_background(points, np.zeros(3))
    assert np.linalg.eigvalsh(background.covariance).min() > 0
    assert np.isfinite(background.log_density(np.ones((2, 4)))).all()


@pytest.mark.parametrize(("pictures", "faces"), [(1, 5), (5, 0)])
def test_too_few_pictures_or_faces_are_refused(pictures: int, faces: int) -> None:
    with pytest.raises(ValueError, match=rf"two or more pictures .* got {pictures} and {faces}"):
        fit_background(np.zeros((pictures, 2)), np.zeros(faces))
