from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from mien.model.errors import BrokenImageError, ImageError
from mien.model.faces.alignment import crop_face, crop_side_px
from mien.model.faces.detection import Detector
from mien.model.faces.reader import FaceReader
from mien.model.faces.thumbnail import THUMBNAIL_PX, crop_of_thumbnail
from tests.support.cartoon import cartoon
from tests.support.faces import make_faces
from tests.support.images import encode, two_faces


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    return FaceReader(Detector())


def picture(file: bytes | None) -> Image.Image:
    assert file is not None
    return Image.open(BytesIO(file))


def test_thumbnail_is_the_crop_in_colour(reader: FaceReader) -> None:
    image = cartoon(640)
    (face,) = reader.read_faces(encode(image), thumbnails=1)
    assert face.landmarks is not None
    shown = picture(face.thumbnail)
    assert (shown.format, shown.mode, shown.size) == ("WEBP", "RGB", (THUMBNAIL_PX, THUMBNAIL_PX))
    grey = np.asarray(shown.convert("L"), dtype=float)
    assert np.abs(grey - crop_face(image, face.landmarks, THUMBNAIL_PX)).mean() < 3
    red, _, blue = np.asarray(shown, dtype=float)[THUMBNAIL_PX // 2, THUMBNAIL_PX // 4]  # a cheek
    assert red > blue + 40


def test_small_face_is_not_enlarged(reader: FaceReader) -> None:
    (face,) = reader.read_faces(encode(cartoon(160)), thumbnails=1)
    assert face.landmarks is not None
    assert picture(face.thumbnail).width == round(crop_side_px(face.landmarks)) < THUMBNAIL_PX


def test_only_the_largest_faces_get_one_where_so_many_are_asked_for(reader: FaceReader) -> None:
    file = encode(two_faces())
    for wanted, expected in ((0, [False, False]), (1, [True, False]), (5, [True, True])):
        assert [face.thumbnail is not None for face in reader.read_faces(file, thumbnails=wanted)] == expected


def test_faces_are_the_same_with_thumbnails_and_without(reader: FaceReader) -> None:
    canvas = np.asarray(Image.fromarray(cartoon(1000)).resize((3900, 3900)), dtype=np.uint8)
    for file, cropped in ((encode(canvas, "JPEG"), False), (encode(cartoon(300), "JPEG"), True)):
        (bare,) = reader.read_faces(file, already_cropped=cropped)
        (face,) = reader.read_faces(file, already_cropped=cropped, thumbnails=1)
        assert face.box == bare.box
        assert np.array_equal(face.crop, bare.crop)
        assert picture(face.thumbnail).width == THUMBNAIL_PX


def test_crop_comes_back_from_the_thumbnail(reader: FaceReader) -> None:
    (face,) = reader.read_faces(encode(cartoon(640)), thumbnails=1)
    again = crop_of_thumbnail(face.thumbnail or b"")
    assert again.shape == face.crop.shape
    assert np.abs(again.astype(float) - face.crop).mean() < 3


@pytest.mark.parametrize("image_format", ["WEBP", "PNG"])
def test_crop_of_its_own_size_comes_back_bit_for_bit(reader: FaceReader, image_format: str) -> None:
    crop = make_faces(1).images[0]
    (face,) = reader.read_faces(encode(crop), already_cropped=True, thumbnails=1)
    file = face.thumbnail if image_format == "WEBP" else encode(crop)  # PNG: as they were kept before
    assert np.array_equal(crop_of_thumbnail(file or b""), crop)


def test_file_that_is_no_thumbnail_is_refused() -> None:
    with pytest.raises(BrokenImageError, match="must be a square of at least 48 pixels, got 20x10"):
        crop_of_thumbnail(encode(Image.new("RGB", (20, 10))))
    for file in (b"", b"no image", bytes(70_000)):
        with pytest.raises(ImageError):
            crop_of_thumbnail(file)
