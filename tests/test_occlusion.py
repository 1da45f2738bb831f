import numpy as np
from numpy.typing import NDArray

from index.mixture import Mixture
from index.occlusion import STEP_PX, occlusion_map


def by_one_corner(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An embedding that looks at the top left 8x8 pixels alone."""
    means = crops[:, :8, :8].reshape(len(crops), -1).mean(axis=1, keepdims=True) / 255
    return np.asarray(means, dtype=np.float32)


MIXTURE = Mixture(
    ("dark", "bright"),
    np.array([[0.0], [1.0]]),
    np.array([[[1.0]], [[1.0]]]),
    np.array([0.5, 0.5]),
    0.3,
    np.array([0.0, 1.0]),
)


def test_heat_lies_where_the_emotion_is_decided() -> None:
    crop = np.full((48, 48), 40, np.uint8)
    crop[:8, :8] = 255
    heat = occlusion_map(crop, by_one_corner, MIXTURE, 1)
    assert heat.shape == (48 // STEP_PX, 48 // STEP_PX)
    assert heat[0, 0] > 0.5
    assert np.abs(heat[6:, 6:]).max() == 0
    assert int(heat.argmax()) == 0


def test_what_speaks_against_an_emotion_is_negative() -> None:
    crop = np.full((48, 48), 40, np.uint8)
    crop[:8, :8] = 255
    assert occlusion_map(crop, by_one_corner, MIXTURE, 0)[0, 0] < -0.5


def test_the_crop_stays_as_it_was() -> None:
    crop = np.random.default_rng(0).integers(0, 255, (48, 48)).astype(np.uint8)
    before = crop.copy()
    occlusion_map(crop, by_one_corner, MIXTURE, 0)
    np.testing.assert_array_equal(crop, before)
