import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mien.model.faces.alignment import SIDE_PX, TEMPLATE, crop_face, crop_whole
from mien.model.faces.detection import Detector
from tests.support.data import FERPLUS, needs_ferplus


def landmarks(centre: tuple[float, float], side_px: float, degrees: float = 0.0) -> NDArray[np.float32]:
    """Landmarks of a face whose crop is a square of ``side_px`` around ``centre``, turned clockwise."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points: NDArray[np.float32] = ((TEMPLATE - 0.5) * side_px @ turn + centre).astype(np.float32)
    return points


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """A grey landscape in RGB, without detail finer than a twelfth of its side."""
    seeds = np.random.default_rng(0).integers(0, 256, (12, 12), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(seeds).resize((width, height), Image.Resampling.BICUBIC), dtype=np.uint8)
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def test_face_in_place_comes_through_bit_for_bit() -> None:
    image = np.repeat(np.random.default_rng(1).integers(0, 256, (48, 48, 1), dtype=np.uint8), 3, axis=2)
    assert np.array_equal(crop_face(image, TEMPLATE * 48), image[..., 0])


def test_square_around_the_landmarks_is_cut_out() -> None:
    image = smooth(300, 400)
    crop = crop_face(image, landmarks((210, 130), 96))
    expected = Image.fromarray(image[130 - 48 : 130 + 48, 210 - 48 : 210 + 48, 0]).reduce(2)
    assert crop.shape == (48, 48)
    assert crop.dtype == np.uint8
    assert difference(crop, np.asarray(expected)) < 1.0


@pytest.mark.parametrize("side_px", [40, 48, 100, 333, 700])
@pytest.mark.parametrize("degrees", [0, 20, -45, 90, 180])
def test_size_and_turn_of_the_face_make_no_difference(side_px: int, degrees: float) -> None:
    upright = smooth(96, 96)
    canvas = Image.new("RGB", (1000, 1000))
    scaled = Image.fromarray(upright).resize((side_px, side_px), Image.Resampling.BICUBIC)
    canvas.paste(scaled, ((1000 - side_px) // 2, (1000 - side_px) // 2))
    turned = canvas.rotate(-degrees, Image.Resampling.BICUBIC)  # Pillow turns anticlockwise
    middle = 500 - (side_px % 2) / 2
    offset = np.array([[middle - 500, middle - 500]])
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    x, y = (offset @ turn)[0] + 500
    crop = crop_face(np.asarray(turned), landmarks((x, y), side_px, degrees))
    expected = np.asarray(Image.fromarray(upright[..., 0]).reduce(2))
    inner = slice(3, -3)  # the paste's border is sharp
    assert difference(crop[inner, inner], expected[inner, inner]) < 4


def test_mirrored_photograph_gives_the_mirrored_crop() -> None:
    image = smooth(300, 400)
    points = landmarks((180, 150), 130, 15) + np.random.default_rng(2).normal(0, 4, (5, 2)).astype(np.float32)
    mirrored = points[[1, 0, 2, 4, 3]] * (-1, 1) + (400, 0)
    crop, other = crop_face(image, points), crop_face(image[:, ::-1], mirrored)
    assert np.abs(crop[:, ::-1].astype(int) - other.astype(int)).max() <= 3


@pytest.mark.parametrize("seed", range(5))
def test_similarity_is_the_least_squares_one(seed: int) -> None:
    """Umeyama's transform by a general solver: a gradient in the image shows where the crop was taken."""
    rng = np.random.default_rng(seed)
    points = landmarks((500, 500), 300, float(rng.uniform(-40, 40))) + rng.normal(0, 20, (5, 2))
    rows, values = [], []
    for (x, y), (to_x, to_y) in zip(points, TEMPLATE * SIDE_PX, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [to_x, to_y]
    (a, b, shift_x, shift_y), *_ = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)
    back = np.linalg.inv([[a, -b, shift_x], [b, a, shift_y], [0, 0, 1]])
    for axis in (0, 1):
        gradient = np.linspace(0, 250, 1000)  # pixel i has its centre at i + 0.5
        image = np.broadcast_to(gradient if axis == 0 else gradient[:, np.newaxis], (1000, 1000)).astype(np.uint8)
        crop = crop_face(np.repeat(image[..., np.newaxis], 3, axis=2), points)
        steps = np.arange(SIDE_PX) + 0.5
        places = back[axis, 0] * steps[np.newaxis, :] + back[axis, 1] * steps[:, np.newaxis] + back[axis, 2]
        assert np.abs(crop - (places - 0.5) * 250 / 999).max() < 1.5


@pytest.mark.parametrize("degrees", [0, 30])
def test_fine_detail_is_averaged_and_not_aliased(degrees: float) -> None:
    checks = (np.indices((1200, 1200)).sum(axis=0) % 2 * 255).astype(np.uint8)
    crop = crop_face(np.repeat(checks[..., np.newaxis], 3, axis=2), landmarks((600, 600), 700, degrees))
    assert np.abs(crop.astype(int) - 127).max() <= 3
    stripes = np.repeat((np.arange(1200) // 5 % 2 * 255)[np.newaxis].astype(np.uint8), 1200, axis=0)
    # 10 pixels a cycle, 14.6 pixels per pixel of the crop: beyond what a crop can show.
    crop = crop_face(np.repeat(stripes[..., np.newaxis], 3, axis=2), landmarks((600, 600), 700, degrees))
    assert crop.std() < 30


def test_grey_is_that_of_itu_r_601() -> None:
    image = np.empty((60, 60, 3), np.uint8)
    image[:] = (200, 40, 90)
    expected = round(0.299 * 200 + 0.587 * 40 + 0.114 * 90)
    assert np.all(crop_face(image, landmarks((30, 30), 40)) == expected)
    assert np.all(crop_whole(image) == expected)


def test_edges_are_repeated() -> None:
    image = smooth(200, 200)
    crop = crop_face(image, landmarks((100, 0), 96))  # the upper half lies above the image
    assert np.abs(crop[:23].astype(int) - crop[22].astype(int)).max() <= 1
    padded = np.pad(image, ((100, 100), (100, 100), (0, 0)), mode="edge")
    assert np.abs(crop.astype(int) - crop_face(padded, landmarks((200, 100), 96)).astype(int)).max() <= 2


@pytest.mark.parametrize("centre", [(-500, -500), (1e6, 3), (20, 1e5)])
@pytest.mark.parametrize("side_px", [1e-3, 5, 1e7])
def test_crop_far_outside_is_still_a_crop(centre: tuple[float, float], side_px: float) -> None:
    assert crop_face(smooth(40, 60), landmarks(centre, side_px).astype(np.float64)).shape == (48, 48)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 900), (900, 1), (2, 3)])
def test_tiny_images_are_cropped(height: int, width: int) -> None:
    image = np.full((height, width, 3), 77, np.uint8)
    assert np.all(crop_face(image, landmarks((width / 2, height / 2), 50)) == 77)
    assert np.all(crop_whole(image) == 77)


@pytest.mark.parametrize("side_px", [32, 48, 64, 112])
def test_side_of_the_crop(side_px: int) -> None:
    image = smooth(200, 300)
    assert crop_face(image, landmarks((100, 100), 80), side_px).shape == (side_px, side_px)
    assert crop_whole(image, side_px).shape == (side_px, side_px)


def test_whole_grey_48_comes_through_bit_for_bit() -> None:
    grey = np.random.default_rng(3).integers(0, 256, (48, 48), dtype=np.uint8)
    assert np.array_equal(crop_whole(np.repeat(grey[..., np.newaxis], 3, axis=2)), grey)


def test_whole_takes_the_centred_square() -> None:
    image = smooth(96, 200)
    assert np.array_equal(crop_whole(image), crop_whole(image[:, 52:148]))
    tall = image.transpose(1, 0, 2)
    assert np.array_equal(crop_whole(tall), crop_whole(tall[52:148]))


def test_whole_does_not_alias() -> None:
    checks = (np.indices((480, 480)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.abs(crop_whole(np.repeat(checks[..., np.newaxis], 3, axis=2)).astype(int) - 127).max() <= 3


@needs_ferplus
def test_template_is_where_fer2013_has_its_landmarks() -> None:
    detector = Detector()
    found = []
    for path in sorted((FERPLUS / "FER2013Train").glob("*.png"))[5::200]:
        with Image.open(path) as image:
            enlarged = image.convert("RGB").resize((240, 240), Image.Resampling.BICUBIC)
        found += [face.landmarks / 240 for face in detector.detect(np.asarray(enlarged))[:1]]
    assert len(found) > 100
    assert np.abs(np.median(found, axis=0) - TEMPLATE).max() < 0.02
