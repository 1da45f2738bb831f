import numpy as np

from index import non_faces


def test_noise_and_textures_are_reproducible_and_use_the_whole_range() -> None:
    for make in (non_faces.noise, non_faces.textures):
        crops = make(6, 48, np.random.default_rng(0))
        assert crops.shape == (6, 48, 48)
        assert crops.dtype == np.uint8
        assert crops.min() < 5
        assert crops.max() > 250
        assert (crops == make(6, 48, np.random.default_rng(0))).all()
        assert not (crops[0] == crops[1]).all()


def test_upside_down_is_half_a_turn() -> None:
    faces = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    turned = non_faces.upside_down(faces)
    assert (turned[0] == np.rot90(faces[0], 2)).all()


def test_badly_cropped_shows_the_corner_alone() -> None:
    faces = np.zeros((1, 48, 48), dtype=np.uint8)
    faces[0, :16, :16] = 200
    assert (non_faces.badly_cropped(faces) == 200).all()
