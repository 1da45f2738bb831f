"""The quality of a face: pose by its geometry, sharpness, size, and what lies outside the picture."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mien.model.faces import quality
from mien.model.faces.alignment import TEMPLATE
from mien.model.faces.detection import Detector
from mien.model.faces.quality import FaceQuality, measure_quality
from mien.model.faces.reader import Face, FaceReader, whole_face
from tests.support.data import london_photographs, needs_london

GOOD = FaceQuality(face_px=200, sharpness=0.2, yaw=0, pitch=0, roll=0, outside=0)


def landmarks_of(yaw: float, pitch: float, roll: float, *, distance: float = np.inf) -> NDArray[np.float64]:
    """(5, 2) the median head turned by angles in degrees, seen from a distance in distances of its eyes."""
    y, p, r = np.radians([yaw, pitch, roll / quality.ROLL_GAIN])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    eyes = TEMPLATE[1, 0] - TEMPLATE[0, 0]
    head = np.column_stack([(TEMPLATE - 0.5) / eyes, quality.DEPTHS]) @ (about_z @ about_x @ about_y).T
    seen = head[:, :2] / (1 - head[:, 2:] / distance)
    return np.asarray(300 + 60 * seen)


@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (25, 0, 0), (-40, 0, 0), (0, 20, 0), (0, -15, 0), (0, 0, 30), (20, 10, -20)]
)
def test_pose_is_that_of_the_head(angles: tuple[float, float, float]) -> None:
    assert quality.pose(landmarks_of(*angles)[None])[0] == pytest.approx(angles, abs=0.01)
    # A photographer two metres away is at 30 distances of the eyes: perspective costs less than two degrees.
    assert quality.pose(landmarks_of(*angles, distance=30)[None])[0] == pytest.approx(angles, abs=2)


def test_mirrored_landmarks_turn_yaw_and_roll_around() -> None:
    points = landmarks_of(20, 10, 15)
    mirrored = (points * (-1, 1) + (600, 0))[[1, 0, 2, 4, 3]]
    yaw, pitch, roll = quality.pose(points[None])[0]
    assert quality.pose(mirrored[None])[0] == pytest.approx((-yaw, pitch, -roll))


def test_blur_lowers_sharpness_and_contrast_does_not_change_it() -> None:
    crop = np.random.default_rng(0).integers(60, 200, (1, 48, 48), dtype=np.uint8)
    blurred = [
        np.asarray(Image.fromarray(crop[0]).filter(ImageFilter.GaussianBlur(radius)))[None] for radius in (1, 2, 3)
    ]
    values = [float(quality.sharpness(each)[0]) for each in (crop, *blurred)]
    assert values == sorted(values, reverse=True)
    assert quality.sharpness(crop // 2)[0] == pytest.approx(values[0], abs=0.01)
    assert quality.sharpness(np.full((1, 48, 48), 7, np.uint8)) == [0.0]


def test_sharpness_is_what_plain_loops_compute() -> None:
    crop = np.random.default_rng(1).integers(0, 256, (9, 9)).astype(np.uint8)
    fine = [float(crop[y, x]) - crop[y - 1 : y + 2, x - 1 : x + 2].mean() for y in range(1, 8) for x in range(1, 8)]
    assert quality.sharpness(crop[None])[0] == pytest.approx(np.std(fine) / np.std(crop.astype(float)))


def test_crop_has_a_size_and_no_pose() -> None:
    (measured,) = measure_quality([whole_face(np.zeros((60, 80), np.uint8))])
    assert (measured.face_px, measured.yaw, measured.pitch, measured.roll, measured.outside) == (
        60,
        None,
        None,
        None,
        0,
    )
    assert measure_quality([]) == []


def test_faces_with_and_without_landmarks_keep_their_order() -> None:
    turned = Face((0, 0, 9, 9), 0.9, np.zeros((48, 48), np.uint8), landmarks_of(30, 0, 0).astype(np.float32))
    whole = whole_face(np.zeros((48, 48), np.uint8))
    first, second, third = measure_quality([whole, turned, whole])
    assert first.yaw is None
    assert third.yaw is None
    assert second.yaw == pytest.approx(30, abs=0.1)


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        ({}, []),
        ({"face_px": 20}, ["small"]),
        ({"sharpness": 0.02}, ["blurred"]),
        ({"yaw": -60}, ["turned"]),
        ({"pitch": 30}, ["turned"]),
        ({"yaw": None, "pitch": None, "roll": None}, []),
        ({"roll": 90}, []),
        ({"outside": 0.3, "face_px": 10}, ["small", "cut_off"]),
    ],
)
def test_faults(change: dict[str, float | None], faults: list[str]) -> None:
    assert FaceQuality(**{**vars(GOOD), **change}).faults == faults


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    return FaceReader(Detector())


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return Image.open(london_photographs()[0]).convert("RGB").resize((600, 600))


def measured(reader: FaceReader, photograph: Image.Image) -> FaceQuality:
    (face, *_) = reader.crop_faces(np.asarray(photograph))
    return measure_quality([face])[0]


@needs_london
class TestPhotographs:
    def test_studio_photograph_has_no_fault(self, reader: FaceReader, photograph: Image.Image) -> None:
        assert measured(reader, photograph).faults == []

    def test_mirrored_photograph(self, reader: FaceReader, photograph: Image.Image) -> None:
        one = measured(reader, photograph)
        other = measured(reader, photograph.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        assert one.yaw is not None
        assert one.pitch is not None
        assert (other.yaw, other.pitch) == pytest.approx((-one.yaw, one.pitch), abs=6)
        assert other.face_px == pytest.approx(one.face_px, rel=0.05)

    @pytest.mark.parametrize("degrees", [-20, 20])
    def test_roll_of_a_turned_photograph(self, reader: FaceReader, photograph: Image.Image, degrees: int) -> None:
        upright, turned = (
            measured(reader, photograph.rotate(-angle, fillcolor=(255, 255, 255))).roll for angle in (0, degrees)
        )
        assert upright is not None
        assert turned is not None
        assert turned - upright == pytest.approx(degrees, abs=8)

    def test_smaller_photograph_has_a_smaller_face(self, reader: FaceReader, photograph: Image.Image) -> None:
        half = measured(reader, photograph.resize((300, 300)))
        assert half.face_px == pytest.approx(measured(reader, photograph).face_px / 2, rel=0.1)

    def test_share_outside_the_photograph(self, reader: FaceReader, photograph: Image.Image) -> None:
        (face, *_) = reader.crop_faces(np.asarray(photograph))
        assert face.landmarks is not None
        mouth = int(face.landmarks[3:, 1].mean() + 0.05 * face.box[3])
        cut = measured(reader, photograph.crop((0, 0, 600, mouth)))
        assert 0.1 < cut.outside < 0.35
        assert "cut_off" in cut.faults or cut.outside <= quality.CUT_OFF
