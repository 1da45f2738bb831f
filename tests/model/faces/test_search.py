"""What is looked at, and that nothing is lost by not looking at the rest."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mien.model.faces.candidates import Detection
from mien.model.faces.detection import Detector
from mien.model.faces.search import FINEST_PX, FIRST_PX, FaceSearch
from tests.support.cartoon import cartoon
from tests.support.data import london_photographs, needs_london

Look = Callable[[Image.Image, float], tuple[NDArray[np.float32], NDArray[np.float32] | None]]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


class Watched:
    """A search that notes its levels, and how many pixels the network read."""

    def __init__(self, detector: Detector, max_faces: int | None = None, *, hints: bool = True) -> None:
        self.levels_px: list[int] = []
        self.read_px = 0
        self._look: Look = detector._look
        self._hints = hints
        self._max_faces = max_faces

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        search = FaceSearch(self._network, image, (image.shape[1], image.shape[0]), 0.6, self._max_faces)
        while search.next_px:
            self.levels_px.append(search.next_px)
            search.look()
        return search.faces()

    def _network(
        self, picture: Image.Image, min_score: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        self.read_px += picture.width * picture.height
        candidates, hints = self._look(picture, min_score)
        return candidates, hints if self._hints else None


def sheet(width: int, height: int, *faces: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Drawn faces on grey: side, x and y of each."""
    canvas = np.full((height, width, 3), 127, np.uint8)
    for side, x, y in faces:
        canvas[y : y + side, x : x + side] = cartoon(side)
    return canvas


def noise(width: int, height: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def whole(width: int, height: int) -> float:
    """The pixels of two whole looks, with 1,280 and 320 pixels."""
    return sum((min(side, max(width, height)) / max(width, height)) ** 2 * width * height for side in (1280, 320))


def test_large_face_on_a_plain_ground_is_looked_at_small(detector: Detector) -> None:
    watched = Watched(detector)
    assert len(watched(sheet(1600, 1600, (1100, 200, 200)))) == 1
    assert watched.levels_px[0] == FIRST_PX[1]
    assert watched.read_px < 0.25 * whole(1600, 1600)


@pytest.mark.parametrize("side", [60, 70, 110])
def test_small_face_beside_a_large_one_is_found_without_looking_everywhere(detector: Detector, side: int) -> None:
    watched = Watched(detector)
    large, small = watched(sheet(2000, 1500, (1100, 100, 200), (side, 1800, 120)))
    assert large.box[2] > 400
    assert 1800 < small.box[0] < 1800 + side
    assert watched.read_px < 0.4 * whole(2000, 1500)


def test_faces_of_many_sizes_are_found(detector: Detector) -> None:
    sides = [64, 90, 130, 180, 260, 400]
    places = [(150, 300), (150, 600), (500, 60), (500, 400), (900, 60), (1300, 500)]
    faces = [(side, *place) for side, place in zip(sides, places, strict=True)]
    assert len(detector.detect(sheet(1800, 1200, *faces))) == len(sides)


@pytest.mark.parametrize("size", [(1280, 960), (8000, 1000), (640, 480)])
def test_work_on_noise_is_bounded(detector: Detector, size: tuple[int, int]) -> None:
    watched = Watched(detector)
    assert watched(noise(*size)) == []
    assert watched.read_px <= 1.2 * whole(*size)


def test_work_on_a_picture_made_of_faces_is_bounded(detector: Detector) -> None:
    tiles = np.tile(cartoon(60), (16, 21, 1))
    watched = Watched(detector)
    assert len(watched(tiles)) > 200
    assert watched.read_px <= 1.2 * whole(*tiles.shape[1::-1])


def test_without_hints_the_whole_picture_is_looked_at(detector: Detector) -> None:
    watched = Watched(detector, hints=False)
    assert len(watched(sheet(2000, 1500, (110, 1800, 120)))) == 1
    assert FINEST_PX in watched.levels_px
    assert watched.read_px > 0.9 * 1280 * 960


def test_largest_face_alone_ends_the_search(detector: Detector) -> None:
    image = sheet(2000, 1500, (600, 100, 200), (70, 1800, 120))
    alone, every = Watched(detector, max_faces=1), Watched(detector)
    (largest,), (first, second) = alone(image), every(image)
    assert alone.levels_px == [FIRST_PX[1]]
    assert len(every.levels_px) > 1
    assert largest.box == first.box
    assert np.array_equal(largest.landmarks, first.landmarks)
    assert second.box[2] < 100


def test_small_largest_face_is_looked_for_as_long_as_it_could_be_larger(detector: Detector) -> None:
    (found,) = detector.detect(sheet(2000, 1500, (70, 1800, 120)), max_faces=1)
    assert 1800 < found.box[0] < 1870


def test_part_of_a_large_face_is_no_face(detector: Detector) -> None:
    for side in (900, 1281, 3000):
        assert len(detector.detect(cartoon(side))) == 1


@needs_london
def test_landmarks_turn_with_the_face(detector: Detector) -> None:
    """Looked at as small as a first look shows it, a face turned by 20 degrees has landmarks turned by 11."""
    turns = []
    for path in london_photographs()[:24:4]:
        with Image.open(path) as opened:
            picture = opened.convert("RGB").resize((675, 675))
        angles = []
        for degrees in (0, 20):
            turned = picture.rotate(-degrees, Image.Resampling.BICUBIC, fillcolor=(255, 255, 255))
            eyes = detector.detect(np.asarray(turned))[0].landmarks[:2]
            angles.append(np.degrees(np.arctan2(*(eyes[1] - eyes[0])[::-1])))
        turns.append(angles[1] - angles[0])
    assert 15 < np.median(turns) < 23
