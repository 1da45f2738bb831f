import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from mien.model.errors import DetectorError
from mien.model.export.hints import remove_hints
from mien.model.faces.detection import YUNET, Detection, Detector, merge
from mien.model.faces.yunet import free_shapes
from tests.support.cartoon import cartoon
from tests.support.data import FERPLUS, LONDON, needs_ferplus, needs_london


def photograph(name: str, side: int = 1350) -> NDArray[np.uint8]:
    with Image.open(LONDON / name) as image:
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), dtype=np.uint8)


def photograph_names(count: int) -> list[str]:
    return sorted(str(path.relative_to(LONDON)) for path in LONDON.glob("*/*.jpg"))[:count]


def pasted(faces: list[NDArray[np.uint8]], places: list[tuple[int, int]]) -> NDArray[np.uint8]:
    canvas = np.full((1500, 2000, 3), 127, np.uint8)
    for face, (x, y) in zip(faces, places, strict=True):
        canvas[y : y + face.shape[0], x : x + face.shape[1]] = face
    return canvas


def centre(detection: Detection) -> tuple[float, float]:
    x, y, width, height = detection.box
    return x + width / 2, y + height / 2


def once(detector: Detector, image: NDArray[np.uint8]) -> list[Detection]:
    """The faces of one pass over an image at its own size."""
    faces = merge(detector.candidates(Image.fromarray(image)))
    return sorted(faces, key=lambda face: face.box[2] * face.box[3], reverse=True)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


def test_finds_a_drawn_face(detector: Detector) -> None:
    (found,) = detector.detect(cartoon(320))
    assert found.score > 0.8
    assert found.landmarks.shape == (5, 2)
    assert found.landmarks.dtype == np.float32
    # The person's right eye is the left one in the picture.
    assert np.abs(found.landmarks[0] - (0.4 * 320, 0.45 * 320)).max() < 0.03 * 320
    assert np.abs(found.landmarks[1] - (0.6 * 320, 0.45 * 320)).max() < 0.03 * 320
    eyes, nose, mouth = found.landmarks[:2, 1].mean(), found.landmarks[2, 1], found.landmarks[3:, 1].mean()
    assert eyes < nose < mouth
    x, y, width, height = found.box
    assert np.all(found.landmarks > (x, y))
    assert np.all(found.landmarks < (x + width, y + height))


@pytest.mark.parametrize("side", [60, 100, 239, 241, 500, 1281, 3000])
def test_box_is_in_pixels_of_the_image(detector: Detector, side: int) -> None:
    (expected,), (found,) = detector.detect(cartoon(320)), detector.detect(cartoon(side))
    assert np.abs(np.array(found.box) / side - np.array(expected.box) / 320).max() < 0.05
    assert np.abs(found.landmarks / side - expected.landmarks / 320).max() < 0.03


def test_face_that_fills_a_large_image(detector: Detector) -> None:
    side = 2400
    head = cartoon(side)[int(0.15 * side) : int(0.9 * side), int(0.2 * side) : int(0.8 * side)]
    (found,) = detector.detect(head)
    assert found.box[3] > 0.7 * head.shape[0]


def test_small_faces_in_a_large_image_largest_first(detector: Detector) -> None:
    sides, places = (75, 140, 100), [(150, 90), (1700, 1250), (900, 700)]  # faces are 0.63 of these high
    found = detector.detect(pasted([cartoon(side) for side in sides], places))
    assert len(found) == 3
    for detection, row in zip(found, (1, 2, 0), strict=True):
        x, y = centre(detection)
        assert places[row][0] < x < places[row][0] + sides[row]
        assert places[row][1] < y < places[row][1] + sides[row]
    areas = [detection.box[2] * detection.box[3] for detection in found]
    assert areas == sorted(areas, reverse=True)


def test_image_full_of_faces(detector: Detector) -> None:
    assert 100 <= len(detector.detect(np.tile(cartoon(40), (30, 32, 1)))) <= 30 * 32


def test_large_face_and_a_small_one(detector: Detector) -> None:
    found = detector.detect(pasted([cartoon(1400), cartoon(110)], [(50, 50), (1700, 200)]))
    assert [round(detection.box[3], -2) for detection in found] == [900, 100]


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (1, 5000), (5000, 1), (20, 20), (31, 33), (32, 32), (7, 640), (321, 319), (1281, 3), (4001, 700)],
)
def test_any_size_is_accepted(detector: Detector, width: int, height: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert detector.detect(noise) == []


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 9, 3), (9, 0, 3)])
def test_image_without_pixels_has_no_face(detector: Detector, shape: tuple[int, int, int]) -> None:
    assert detector.detect(np.zeros(shape, np.uint8)) == []


def test_views_of_an_image_are_images(detector: Detector) -> None:
    image = cartoon(320)
    (mirrored,) = detector.detect(image[:, ::-1])
    (copied,) = detector.detect(image[:, ::-1].copy())
    assert mirrored.box == copied.box


@pytest.mark.parametrize("colour", [0, 127, 255])
def test_one_colour_has_no_face(detector: Detector, colour: int) -> None:
    assert detector.detect(np.full((480, 640, 3), colour, np.uint8)) == []


def test_min_score_leaves_detections_out(detector: Detector) -> None:
    (found,) = detector.detect(cartoon(320))
    assert len(Detector(min_score=found.score - 0.01).detect(cartoon(320))) == 1
    assert Detector(min_score=found.score + 0.01).detect(cartoon(320)) == []
    lax = Detector(min_score=0.0).detect(cartoon(100))
    assert max(face.score for face in lax) > 0.8
    assert min(face.score for face in lax) < 0.1


def test_one_detector_serves_many_threads(detector: Detector) -> None:
    images = [cartoon(side) for side in (250, 333, 400, 512)] * 3
    expected = [detector.detect(image) for image in images]
    results: list[list[Detection]] = [[] for _ in images]

    def work(row: int) -> None:
        results[row] = detector.detect(images[row])

    threads = [threading.Thread(target=work, args=(row,)) for row in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [[face.box for face in faces] for faces in results] == [[face.box for face in faces] for faces in expected]


# Results of OpenCV 4.14's FaceDetectorYN with the same network on the images of the tests below: (n, 15) box,
# landmarks, score, largest box first. "faces" are after non-maximum suppression (0.3), "candidates" before it.
OPENCV = np.load(Path(__file__).with_name("opencv_detections.npz"))


def overlap_of(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(across, 0) * max(down, 0)
    return float(shared / (one[2] * one[3] + other[2] * other[3] - shared))


def assert_as_opencv(found: list[Detection], name: str) -> None:
    """Boxes and scores are OpenCV's; landmarks are the mean over its candidates before any is suppressed."""
    expected, candidates = OPENCV[f"{name}/faces"], OPENCV[f"{name}/candidates"]
    assert len(candidates) > len(expected)
    assert len(found) == len(expected) >= 1
    for detection, row in zip(found, expected, strict=True):
        assert np.abs(np.array(detection.box) - row[:4]).max() < 1
        assert abs(detection.score - row[14]) < 0.01
        voters = np.array([other for other in candidates if overlap_of(row, other) > 0.5])
        landmarks = (voters[:, 4:14] * voters[:, 14:]).sum(axis=0) / voters[:, 14].sum()
        assert np.abs(detection.landmarks - landmarks.reshape(5, 2)).max() < 0.1


@pytest.mark.parametrize(("height", "width"), [(320, 320), (250, 320), (310, 301)])
def test_drawn_face_is_where_opencv_finds_it(detector: Detector, height: int, width: int) -> None:
    assert_as_opencv(once(detector, cartoon(320)[:height, :width]), f"drawn_{height}x{width}")


@needs_london
def test_faces_are_where_opencv_finds_them(detector: Detector) -> None:
    for name in photograph_names(40)[::5]:
        assert_as_opencv(once(detector, photograph(name, 320)), name)


@needs_london
def test_several_faces_are_where_opencv_finds_them(detector: Detector) -> None:
    names = photograph_names(40)[::10]
    rows = [np.hstack([photograph(name, side) for name in names[:2]]) for side in (100, 150)]
    canvas = np.zeros((300, 320, 3), np.uint8)
    canvas[:100, :200], canvas[130:280, :300] = rows
    assert len(OPENCV["several/faces"]) == 4
    assert_as_opencv(once(detector, canvas), "several")


@needs_london
def test_each_photograph_has_one_face(detector: Detector) -> None:
    for name in photograph_names(40)[::8]:
        assert len(detector.detect(photograph(name))) == 1, name


@needs_london
def test_close_up_is_found(detector: Detector) -> None:
    for name in photograph_names(40)[::13]:
        image = photograph(name)
        (found,) = detector.detect(image)
        x, y, width, height = (int(value) for value in found.box)
        (again,) = detector.detect(image[y : y + height, x : x + width])
        assert abs(again.box[3] / height - 1) < 0.15


@needs_london
def test_small_faces_among_a_crowd(detector: Detector) -> None:
    names = photograph_names(40)[::7]
    places = [(80 + 300 * column, 60 + 220 * column) for column in range(len(names))]
    found = detector.detect(pasted([photograph(name, 130) for name in names], places))  # faces of about 55 pixels
    assert len(found) == len(names)


@needs_ferplus
def test_face_crops_of_48_pixels(detector: Detector) -> None:
    paths = sorted((FERPLUS / "FER2013Train").glob("*.png"))[:3000:50]
    images = [np.asarray(Image.open(path).convert("RGB"), dtype=np.uint8) for path in paths]
    assert np.mean([len(detector.detect(image)) == 1 for image in images]) > 0.93


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"none\.onnx"):
        Detector(tmp_path / "none.onnx")
    with pytest.raises(DetectorError):
        Detector(tmp_path)


def test_broken_files_are_refused(tmp_path: Path) -> None:
    whole = YUNET.read_bytes()
    path = tmp_path / "broken.onnx"
    for data in (b"", b"\0", b"not a network", bytes(1000), b"\xff" * 50, whole[:1000], whole[:-1], whole[500:]):
        path.write_bytes(data)
        with pytest.raises(DetectorError, match=r"broken\.onnx"):
            Detector(path)


def test_detector_is_loaded_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "own.onnx"
    path.write_bytes(YUNET.read_bytes())
    assert len(Detector(path).detect(cartoon(320))) == 1


@pytest.fixture
def fixed_shapes(tmp_path: Path) -> Path:
    """YuNet as OpenCV Zoo distributes it: for images of 640x640 pixels."""
    network = onnx.load(str(YUNET))
    remove_hints(network)
    for side in network.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_value = 640
    for output in network.graph.output:
        output.type.tensor_type.shape.dim[1].dim_value = (640 // int(output.name.rpartition("_")[2])) ** 2
    path = tmp_path / "fixed.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(network), str(path))
    return path


def test_network_for_images_of_one_size_is_refused(fixed_shapes: Path) -> None:
    with pytest.raises(DetectorError, match=r"fixed\.onnx: expected YuNet for images of any height.*640, 640"):
        Detector(fixed_shapes)


def test_freed_shapes_give_the_network_that_mien_carries(fixed_shapes: Path, tmp_path: Path) -> None:
    free_shapes(fixed_shapes, tmp_path / "free.onnx")
    carried = onnx.load(str(YUNET))
    remove_hints(carried)
    assert onnx.load(str(tmp_path / "free.onnx")) == carried
