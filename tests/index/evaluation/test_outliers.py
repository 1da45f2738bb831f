from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.index.evaluation import outliers
from mien.index.evaluation.outliers import seen_outliers, unseen_outliers

Crops = NDArray[np.uint8]
Draw = Callable[[int, int, np.random.Generator], Crops]


def some_faces(n: int = 8) -> Crops:
    """Faces whose pixels tell where they were, before and after a move, turn or cut."""
    down, across = np.mgrid[0:48, 0:48]
    one = (2 * down + across).astype(np.uint8)
    return np.stack([one + row for row in range(n)]).astype(np.uint8)


@pytest.mark.parametrize("make", [outliers.noise, outliers.textures, outliers.gratings])
def test_noise_textures_and_gratings_are_reproducible_and_use_the_whole_range(make: Draw) -> None:
    crops = make(6, 48, np.random.default_rng(0))
    assert crops.shape == (6, 48, 48)
    assert crops.dtype == np.uint8
    assert crops.min() < 5
    assert crops.max() > 250
    assert (crops == make(6, 48, np.random.default_rng(0))).all()
    assert not (crops[0] == crops[1]).all()


def test_upside_down_faces_are_turned_by_180_degrees() -> None:
    faces = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    turned = outliers.upside_down(faces)
    assert (turned[0] == np.rot90(faces[0], 2)).all()


def test_faces_on_their_side_are_turned_by_90_degrees_either_way() -> None:
    faces = some_faces(4)
    turned = outliers.on_their_side(faces)
    for row, quarters in enumerate((1, -1, 1, -1)):
        assert (turned[row] == np.rot90(faces[row], quarters)).all()


def test_corners_show_each_of_the_four_corners_in_turn() -> None:
    for row, (top, left) in enumerate(((0, 0), (0, 32), (32, 0), (32, 32))):
        faces = np.zeros((4, 48, 48), dtype=np.uint8)
        faces[:, top : top + 16, left : left + 16] = 200
        shown = outliers.corners(faces)
        assert (shown[row] == 200).all()
        assert (shown[[other for other in range(4) if other != row]] == 0).all()


def test_half_out_shows_half_of_the_face_and_repeats_its_edge() -> None:
    face = some_faces(1)[0]
    down, up, right, left = outliers.half_out(np.stack([face] * 4))
    assert (down[24:] == face[:24]).all()
    assert (down[:24] == face[0]).all()
    assert (up[:24] == face[24:]).all()
    assert (up[24:] == face[-1]).all()
    assert (right[:, 24:] == face[:, :24]).all()
    assert (left[:, :24] == face[:, 24:]).all()


def test_tiny_face_is_surrounded_by_its_edges_or_by_clouds() -> None:
    faces = np.zeros((40, 48, 48), dtype=np.uint8)
    faces[:, 8:40, 8:40] = 255  # a bright square with a dark rim
    crops = outliers.tiny(faces, np.random.default_rng(0))
    bright = (crops > 200).mean(axis=(1, 2))
    on_edges, on_clouds = crops[0::2], crops[1::2]
    assert (bright[0::2] < 0.4**2).all()
    assert (bright[0::2] > 0.1**2).all()
    assert (on_edges[:, [0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()
    assert all(len(np.unique(crop)) > 100 for crop in on_clouds)
    centres = [np.argwhere(crop > 200).mean(axis=0) for crop in on_edges]
    assert np.ptp(centres, axis=0).min() > 15


def test_scrambled_faces_have_no_quarter_in_its_place() -> None:
    faces = np.zeros((200, 4, 4), dtype=np.uint8)
    for number, (y, x) in enumerate(((0, 0), (0, 2), (2, 0), (2, 2))):
        faces[:, y : y + 2, x : x + 2] = number
    mixed = outliers.scrambled(faces, np.random.default_rng(0))
    quarters = mixed[:, ::2, ::2].reshape(200, 4)
    assert (mixed == quarters.reshape(200, 2, 2).repeat(2, 1).repeat(2, 2)).all()
    assert (np.sort(quarters, axis=1) == np.arange(4)).all()
    assert not (quarters == np.arange(4)).any()
    assert len({tuple(order) for order in quarters.tolist()}) == 9  # all derangements of four


def test_kinds_are_seen_or_unseen() -> None:
    seen, unseen = seen_outliers(some_faces(20), 0, count=10), unseen_outliers(48, 0, count=10)
    assert all(each.seen for each in seen)
    assert not any(each.seen for each in unseen)
    assert {each.kind for each in unseen} == {"gratings", "objects", "reliefs", "handwriting"}
    names = [each.kind for each in seen + unseen]
    assert len(set(names)) == len(names) == 12
    for each in seen + unseen:
        assert each.crops.shape == (10, 48, 48), each.kind
        assert each.crops.dtype == np.uint8
        assert "." not in each.kind, "dots separate the parts of a path of scores"


def test_seed_decides_the_crops() -> None:
    faces = some_faces(30)
    one, same, other = (seen_outliers(faces, seed, count=10) for seed in (0, 0, 1))
    for first, second, third in zip(one, same, other, strict=True):
        assert (first.crops == second.crops).all()
        assert not (first.crops == third.crops).all(), first.kind


def test_each_of_few_faces_is_used_once() -> None:
    (turned,) = (each.crops for each in seen_outliers(some_faces(5), 0, count=10) if each.kind == "upside-down faces")
    assert sorted(turned[:, -1, -1].tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("make", [outliers.objects, outliers.reliefs, outliers.handwriting])
def test_patches_are_reproducible_and_differ(make: Draw) -> None:
    crops = make(7, 48, np.random.default_rng(0))
    assert crops.shape == (7, 48, 48)
    assert crops.dtype == np.uint8
    assert (crops == make(7, 48, np.random.default_rng(0))).all()
    assert len({crop.tobytes() for crop in crops}) == 7
    assert crops.std() > 20


def test_patches_come_from_the_pictures_in_turn() -> None:
    dark, bright = np.full((40, 90), 10, np.uint8), np.full((70, 50), 200, np.uint8)
    cut = outliers.patches([dark, bright], 6, 12, np.random.default_rng(0))
    assert cut[0::2].tolist() == np.full((3, 12, 12), 10).tolist()
    assert cut[1::2].tolist() == np.full((3, 12, 12), 200).tolist()


def test_patches_have_all_sizes() -> None:
    """The range of grey in a patch of a ramp is proportional to its width."""
    ramp = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (200, 1))
    spans = np.ptp(outliers.patches([ramp], 200, 48, np.random.default_rng(0)).reshape(200, -1), axis=1) / 255
    assert spans.min() < 1.2 * outliers._MIN_PATCH_SHARE
    assert spans.max() > 0.9
    assert spans.min() > 0.8 * outliers._MIN_PATCH_SHARE


def test_handwriting_repeats_after_all_digits() -> None:
    digits = outliers.handwriting(1800, 8, np.random.default_rng(0))
    assert (digits[1797] == digits[0]).all()
