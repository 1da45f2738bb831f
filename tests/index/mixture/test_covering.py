"""The test of covered mouths and eyes: its features, by plain loops."""

import numpy as np
import pytest

from mien.index.mixture.covering import FEATURES, CoveringTest, covering_features


def test_features_are_what_plain_loops_compute() -> None:
    generator = np.random.default_rng(0)
    crops = generator.integers(0, 256, (2, 48, 48), dtype=np.uint8)
    points = generator.normal(size=(2, 3)).astype(np.float32)
    features = covering_features(crops, points)
    assert features.shape == (2, 3 + FEATURES)
    for crop, point, row in zip(crops.astype(float), points, features, strict=True):
        contrast = crop.std() + 8
        greys = [
            (crop[6 * y : 6 * y + 6, 6 * x : 6 * x + 6].mean() - crop.mean()) / contrast
            for y in range(8)
            for x in range(8)
        ]
        down, across = np.abs(np.diff(crop, axis=0)), np.abs(np.diff(crop, axis=1))
        edges = [
            np.sqrt(part[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].sum() / 16 / contrast)
            for part in (np.vstack([down, np.zeros((1, 48))]), np.hstack([across, np.zeros((48, 1))]))
            for y in range(12)
            for x in range(12)
        ]
        np.testing.assert_allclose(row, [*point, *greys, *edges], rtol=1e-3, atol=1e-4)


def test_crop_of_one_grey_has_finite_features() -> None:
    assert np.isfinite(covering_features(np.full((1, 48, 48), 9, np.uint8), np.zeros((1, 2)))).all()


def test_part_is_covered_above_the_bias() -> None:
    weights = np.zeros((2, 1 + FEATURES))
    weights[:, 0] = 1, -1  # of the embedding alone
    test = CoveringTest(weights, np.array([-1.0, 0.5]))
    points = np.array([[2.0], [0.0], [-3.0]], dtype=np.float32)
    covered = test.covered(np.zeros((3, 48, 48), np.uint8), points)
    assert covered.tolist() == [[True, False], [False, True], [False, True]]
    assert test.covered(np.zeros((1, 48, 48), np.uint8), points[:1])[0].tolist() == pytest.approx(covered[0].tolist())
