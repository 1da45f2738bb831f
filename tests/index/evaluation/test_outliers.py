from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.index.evaluation import outliers
from mien.index.evaluation.outliers import rehearsed, unrehearsed

Crops = NDArray[np.uint8]
Draw = Callable[[int, int, np.random.Generator], Crops]


def some_faces(n: int = 8) -> Crops:
    """Each pixel its own place: what was moved, turned or cut can be told."""
    down, across = np.mgrid[0:48, 0:48]
    one = (2 * down + across).astype(np.uint8)
    return np.stack([one + row for row in range(n)]).astype(np.uint8)


@pytest.mark.parametrize("make", [outliers.noise, outliers.textures, outliers.gratings])
def test_pictures_of_nothing_are_reproducible_and_use_the_whole_range(make: Draw) -> None:
    crops = make(6, 48, np.random.default_rng(0))
    assert crops.shape == (6, 48, 48)
    assert crops.dtype == np.uint8
    assert crops.min() < 5
    assert crops.max() > 250
    assert (crops == make(6, 48, np.random.default_rng(0))).all()
    assert not (crops[0] == crops[1]).all()


def test_upside_down_is_half_a_turn() -> None:
    faces = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    turned = outliers.upside_down(faces)
    assert (turned[0] == np.rot90(faces[0], 2)).all()


def test_on_their_side_is_a_quarter_turn_either_way() -> None:
    faces = some_faces(4)
    turned = outliers.on_their_side(faces)
    for row, quarters in enumerate((1, -1, 1, -1)):
        assert (turned[row] == np.rot90(faces[row], quarters)).all()


def test_corners_show_one_corner_alone_the_four_in_turn() -> None:
    for row, (top, left) in enumerate(((0, 0), (0, 32), (32, 0), (32, 32))):
        faces = np.zeros((4, 48, 48), dtype=np.uint8)
        faces[:, top : top + 16, left : left + 16] = 200
        shown = outliers.corners(faces)
        assert (shown[row] == 200).all()
        assert (shown[[other for other in range(4) if other != row]] == 0).all()


def test_half_out_shows_half_of_the_face_and_its_edge_repeated() -> None:
    face = some_faces(1)[0]
    down, up, right, left = outliers.half_out(np.stack([face] * 4))
    assert (down[24:] == face[:24]).all()
    assert (down[:24] == face[0]).all()
    assert (up[:24] == face[24:]).all()
    assert (up[24:] == face[-1]).all()
    assert (right[:, 24:] == face[:, :24]).all()
    assert (left[:, :24] == face[:, 24:]).all()


def test_a_tiny_face_is_somewhere_with_its_edges_repeated_or_clouds_around() -> None:
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


def test_scrambled_faces_have_no_quarter_in_its_own_place() -> None:
    faces = np.zeros((200, 4, 4), dtype=np.uint8)
    for number, (y, x) in enumerate(((0, 0), (0, 2), (2, 0), (2, 2))):
        faces[:, y : y + 2, x : x + 2] = number
    mixed = outliers.scrambled(faces, np.random.default_rng(0))
    quarters = mixed[:, ::2, ::2].reshape(200, 4)
    assert (mixed == quarters.reshape(200, 2, 2).repeat(2, 1).repeat(2, 2)).all()
    assert (np.sort(quarters, axis=1) == np.arange(4)).all()
    assert not (quarters == np.arange(4)).any()
    assert len({tuple(order) for order in quarters.tolist()}) == 9  # all derangements of four


def test_kinds_say_what_may_be_learned_from() -> None:
    learned, kept = rehearsed(some_faces(20), 0, count=10), unrehearsed(48, 0, count=10)
    assert all(each.rehearsed for each in learned)
    assert not any(each.rehearsed for each in kept)
    assert {each.kind for each in kept} == {"gratings", "objects", "reliefs", "handwriting"}
    names = [each.kind for each in learned + kept]
    assert len(set(names)) == len(names) == 12
    for each in learned + kept:
        assert each.crops.shape == (10, 48, 48), each.kind
        assert each.crops.dtype == np.uint8
        assert "." not in each.kind, "a dot parts the paths of scores"


def test_the_seed_decides_everything() -> None:
    faces = some_faces(30)
    one, same, other = (rehearsed(faces, seed, count=10) for seed in (0, 0, 1))
    for first, second, third in zip(one, same, other, strict=True):
        assert (first.crops == second.crops).all()
        assert not (first.crops == third.crops).all(), first.kind


def test_few_faces_are_each_taken_once() -> None:
    (turned,) = (each.crops for each in rehearsed(some_faces(5), 0, count=10) if each.kind == "upside-down faces")
    assert sorted(turned[:, -1, -1].tolist()) == [0, 1, 2, 3, 4]
