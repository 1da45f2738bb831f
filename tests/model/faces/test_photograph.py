from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import ExifTags, Image

from mien.model.errors import BrokenImageError, ImageTooLargeError, UnsupportedImageError
from mien.model.faces.decoding import DecodingLimits, decode, decode_grey
from mien.model.faces.photograph import Photograph
from tests.support.images import encode


def picture(width: int = 800, height: int = 600) -> Image.Image:
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, (across + down) / 2], axis=2).astype(np.uint8))


@pytest.mark.parametrize(("min_px", "factor"), [(90, 8), (101, 4), (200, 4), (400, 2), (401, 1), (5000, 1)])
def test_jpeg_is_reduced_to_no_less_than_is_asked_for(min_px: int, factor: int) -> None:
    photograph = Photograph(encode(picture(), "JPEG"))
    image, by = photograph.pixels(min_px)
    assert photograph.size == (800, 600)
    assert by == factor
    assert image.shape == (600 // factor, 800 // factor, 3)


def test_nothing_is_decoded_twice() -> None:
    decoded = 0

    @contextmanager
    def timed() -> Iterator[None]:
        nonlocal decoded
        decoded += 1
        yield

    photograph = Photograph(encode(picture(), "JPEG"), timed=timed)
    counts = []
    for min_px, mode in ((200, "RGB"), (100, "RGB"), (150, "L"), (800, "L"), (700, "L"), (300, "RGB"), (200, "RGB")):
        photograph.pixels(min_px, "L" if mode == "L" else "RGB")
        counts.append(decoded)
    assert counts == [2, 2, 2, 3, 3, 4, 4]  # the header is the first


def test_grey_levels_are_those_of_decode_grey() -> None:
    data = encode(picture(), "JPEG")
    image, factor = Photograph(data).pixels(800, "L")
    assert factor == 1
    assert np.array_equal(image, decode_grey(data))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_size_is_that_of_the_upright_picture(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encode(picture(), "JPEG", exif=exif)
    height, width, _ = decode(data).shape
    assert Photograph(data).size == (width, height)
    assert Photograph(data).pixels(1000)[0].shape == (height, width, 3)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_other_formats_are_decoded_as_a_whole(image_format: str) -> None:
    image, factor = Photograph(encode(picture(), image_format)).pixels(100)
    assert factor == 1
    assert image.shape == (600, 800, 3)


def test_pixels_are_taken_as_they_are() -> None:
    pixels = np.asarray(picture())
    photograph = Photograph(pixels)
    assert photograph.size == (800, 600)
    assert photograph.pixels(10, "L")[0] is pixels
    assert photograph.pixels(5000) == (pixels, 1)


def test_bad_files_are_refused_as_by_decode() -> None:
    data = encode(picture(), "JPEG")
    with pytest.raises(UnsupportedImageError):
        Photograph(b"no image")
    with pytest.raises(ImageTooLargeError, match="800x600"):
        Photograph(data, DecodingLimits(max_pixels=800 * 600 - 1))
    with pytest.raises(BrokenImageError):
        Photograph(data[: len(data) // 2]).pixels(100)
