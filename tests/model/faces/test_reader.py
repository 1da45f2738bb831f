from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from mien.model.faces.alignment import TEMPLATE, crop_face, crop_whole
from mien.model.faces.decoding import decode
from mien.model.faces.detection import Detector
from mien.model.faces.reader import FaceReader, whole_face
from mien.model.faces.thumbnail import THUMBNAIL_PX
from tests.support.cartoon import cartoon
from tests.support.data import london_photographs, needs_london


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    return FaceReader(Detector())


def test_face_has_its_box_score_and_crop(reader: FaceReader) -> None:
    image = cartoon(400)
    (face,) = reader.crop_faces(image)
    (detection,) = reader.detector.detect(image)
    assert face.detection == detection.score
    assert face.box == detection.box
    assert face.crop.shape == (48, 48)
    assert face.crop.dtype == np.uint8
    assert np.array_equal(face.crop, crop_face(image, detection.landmarks))


def test_eyes_of_the_crop_lie_where_fer2013_has_them(reader: FaceReader) -> None:
    image = np.asarray(Image.fromarray(cartoon(500)).rotate(15, Image.Resampling.BICUBIC), dtype=np.uint8)
    crop = reader.crop_faces(image)[0].crop
    enlarged = np.asarray(Image.fromarray(crop).resize((240, 240), Image.Resampling.BICUBIC).convert("RGB"))
    (again,) = reader.detector.detect(enlarged)
    assert np.abs(again.landmarks / 240 - TEMPLATE).max() < 0.08


def test_largest_first_and_every_face(reader: FaceReader) -> None:
    canvas = np.full((600, 1200, 3), 127, np.uint8)
    for side, x in ((120, 40), (500, 300), (240, 900)):
        canvas[50 : 50 + side, x : x + side] = cartoon(side)
    lefts = [face.box[0] for face in reader.crop_faces(canvas)]
    assert [int(left // 300) for left in lefts] == [1, 3, 0]
    assert [face.box[0] for face in FaceReader(reader.detector, max_faces=2).crop_faces(canvas)] == lefts[:2]


@pytest.mark.parametrize("cut", [(0, 0, 330, 400), (70, 0, 400, 400), (0, 80, 400, 400), (0, 0, 400, 300)])
def test_boxes_are_clipped_to_the_image(reader: FaceReader, cut: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = cut
    image = cartoon(400)[top:bottom, left:right]
    for face in reader.crop_faces(image):
        x, y, width, height = face.box
        assert min(x, y) >= 0
        assert width > 0
        assert height > 0
        assert x + width <= image.shape[1] + 1e-6
        assert y + height <= image.shape[0] + 1e-6


def test_face_over_the_edge_is_clipped(reader: FaceReader) -> None:
    image = cartoon(400)[:, 170:]  # the face begins at 100
    (detection,), (face,) = reader.detector.detect(image), reader.crop_faces(image)
    assert detection.box[0] < 0
    assert face.box[0] == 0
    assert face.box[0] + face.box[2] == pytest.approx(detection.box[0] + detection.box[2])


def test_no_face_is_an_empty_list(reader: FaceReader) -> None:
    assert reader.crop_faces(np.full((300, 400, 3), 90, np.uint8)) == []
    assert reader.crop_faces(np.zeros((1, 1, 3), np.uint8)) == []


def test_whole_face_takes_the_image_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    face = whole_face(image)
    assert face.box == (0, 0, 50, 60)
    assert face.detection is None
    assert np.array_equal(face.crop, crop_whole(image))


@needs_london
def test_crop_does_not_depend_on_the_size_of_the_photograph(reader: FaceReader) -> None:
    correlations: list[float] = []
    for path in london_photographs()[:40:5]:
        with Image.open(path) as image:
            picture = image.convert("RGB")
        crops = [
            reader.crop_faces(np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS)))[0].crop.ravel()
            for side in (1350, 600, 250)
        ]
        correlations.extend(np.atleast_2d(np.corrcoef(crops))[0, 1:].tolist())
    assert np.mean(correlations) > 0.98
    assert min(correlations) > 0.92


@needs_london
def test_largest_face_is_the_same_alone(reader: FaceReader) -> None:
    data = london_photographs()[4].read_bytes()
    (alone,), (together, *_) = reader.read_faces(data, max_faces=1), reader.read_faces(data)
    assert alone.box == together.box
    assert np.array_equal(alone.crop, together.crop)


@needs_london
def test_thumbnail_is_cut_from_enough_pixels(reader: FaceReader) -> None:
    """The crop is made of a quarter of a large photograph, its thumbnail is as fine as of the whole."""
    with Image.open(london_photographs()[4]) as image:
        picture = image.convert("RGB").resize((675, 675))
    buffer = BytesIO()
    sheet = Image.new("RGB", (4000, 3000), "grey")
    sheet.paste(picture, (1500, 1000))
    sheet.save(buffer, "JPEG", quality=95)
    (face,) = reader.read_faces(buffer.getvalue(), thumbnails=1)
    assert face.thumbnail is not None
    assert decode(face.thumbnail).shape == (THUMBNAIL_PX, THUMBNAIL_PX, 3)
