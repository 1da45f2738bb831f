import numpy as np
from numpy.typing import NDArray

from mien.index.mixture.mixture import Mixture
from mien.index.views.occlusion import STEP_PX, closeness_map, emotion_map, occlude


def by_one_corner(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An embedding of the top left 8x8 pixels."""
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


def test_emotion_depends_on_the_place_that_decides_it() -> None:
    crop = np.full((48, 48), 40, np.uint8)
    crop[:8, :8] = 255
    heat = emotion_map(occlude(crop, by_one_corner), MIXTURE, 1)
    assert heat.shape == (48 // STEP_PX, 48 // STEP_PX)
    assert heat[0, 0] > 0.5
    assert np.abs(heat[6:, 6:]).max() == 0
    assert int(heat.argmax()) == 0


def test_place_that_speaks_against_an_emotion_is_negative() -> None:
    crop = np.full((48, 48), 40, np.uint8)
    crop[:8, :8] = 255
    assert emotion_map(occlude(crop, by_one_corner), MIXTURE, 0)[0, 0] < -0.5


def test_crop_is_not_changed() -> None:
    crop = np.random.default_rng(0).integers(0, 255, (48, 48)).astype(np.uint8)
    before = crop.copy()
    occlude(crop, by_one_corner)
    np.testing.assert_array_equal(crop, before)


def test_closeness_depends_on_the_place_where_two_faces_are_alike() -> None:
    crop = np.full((48, 48), 40, np.uint8)
    crop[:8, :8] = 255
    occlusion = occlude(crop, by_one_corner)
    to_the_like = closeness_map(occlusion, np.array([1.0]))
    assert to_the_like[0, 0] > 0.5
    assert np.abs(to_the_like[6:, 6:]).max() == 0
    assert closeness_map(occlusion, np.array([0.0]))[0, 0] < -0.5  # the bright corner keeps it from a dark face


def test_closeness_is_the_mean_increase_of_the_distance() -> None:
    """Against plain loops over every patch and place."""
    crop = np.random.default_rng(1).integers(0, 255, (24, 24)).astype(np.uint8)

    def by_quarters(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        quarters = crops.reshape(len(crops), 2, 12, 2, 12).mean(axis=(2, 4)).reshape(len(crops), 4)
        return np.asarray(quarters / 255, dtype=np.float32)

    point = np.array([0.1, 0.9, 0.4, 0.2])
    whole = np.linalg.norm(by_quarters(crop[None])[0] - point)
    growth: dict[tuple[int, int], list[float]] = {}
    for top in range(0, 13, 4):
        for left in range(0, 13, 4):
            covered = crop.copy()
            covered[top : top + 12, left : left + 12] = round(float(crop.mean()))
            grown = np.linalg.norm(by_quarters(covered[None])[0] - point) - whole
            for row in range(top // 4, top // 4 + 3):
                for column in range(left // 4, left // 4 + 3):
                    growth.setdefault((row, column), []).append(float(grown))
    heat = closeness_map(occlude(crop, by_quarters), point)
    assert heat.shape == (6, 6)
    for place, values in growth.items():
        np.testing.assert_allclose(heat[place], np.mean(values), atol=1e-6)
