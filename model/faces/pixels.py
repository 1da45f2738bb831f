"""From a picture that Pillow decoded to an array: upright, on white, with 8 bits.

The picture is taken in bands of rows, so that memory has it twice and no more: as Pillow's and as the array.
"""

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

BAND_PX: Final = 2**20
"""Pixels of a band."""

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How a picture is turned upright, by its EXIF orientation."""

_WHITES: Final = (1, 255, 4095, 65535)


def upright_array(image: Image.Image, mode: Literal["RGB", "L"]) -> NDArray[np.uint8]:
    """(h, w, 3) RGB or (h, w) grey of a picture, rotated by its EXIF orientation, transparent parts on white."""
    image.load()
    width, height = image.size
    levels = _Levels(image) if image.mode.startswith(("I", "F")) else None
    orientation = _orientation(image)
    turn = _TURNS.get(orientation)
    sideways, is_reversed = orientation in (5, 6, 7, 8), orientation in (3, 4, 6, 7)
    shape = (width, height) if sideways else (height, width)
    array = np.empty((*shape, 3) if mode == "RGB" else shape, np.uint8)
    for top, band in _bands(image):
        opaque = Image.fromarray(levels.to_8_bit(band)) if levels is not None else _on_white(band)
        converted = opaque if opaque.mode == mode else opaque.convert(mode)
        turned = converted if turn is None else converted.transpose(turn)
        start = height - top - band.height if is_reversed else top
        place = slice(start, start + band.height)
        array[(slice(None), place) if sideways else place] = np.asarray(turned)
    return array


def is_sideways(image: Image.Image) -> bool:
    """Whether width and height change places when a picture is turned upright."""
    return _orientation(image) in (5, 6, 7, 8)


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The picture in bands of rows, each with its first row."""
    width, height = image.size
    rows = max(1, BAND_PX // width)
    if rows >= height:
        yield 0, image
        return
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(top + rows, height)))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, if it can be read."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  damaged EXIF data raises many kinds of errors
        return 1
    return found if found in _TURNS else 1


def _on_white(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture.convert("RGBA"))
    return paper


class _Levels:
    """Scales grey levels of more than 8 bits to 0 to 255.

    Files do not say which level is white. It is the first of 1 (for fractions), 255, 4095 (12-bit cameras) and 65535
    that is not below the brightest level, or else the brightest level. Black is 0, or the darkest level if negative.
    """

    def __init__(self, image: Image.Image) -> None:
        ranges = [(values.min(), values.max()) for values in (_finite(band) for _, band in _bands(image))]
        darkest, brightest = float(min(low for low, _ in ranges)), float(max(high for _, high in ranges))
        self._black = min(0.0, darkest)
        whites = _WHITES if image.mode.startswith("F") else _WHITES[1:]
        white = next((white for white in whites if brightest <= white), brightest)
        self._scale = 255 / (white - self._black)

    def to_8_bit(self, band: Image.Image) -> NDArray[np.uint8]:
        """(h, w) the levels of a part of the image."""
        values = _finite(band)
        values *= self._scale
        values -= self._black * self._scale
        return np.rint(values).clip(0, 255).astype(np.uint8)


def _finite(band: Image.Image) -> NDArray[np.float32]:
    values = np.asarray(band).astype(np.float32)
    values[~np.isfinite(values)] = 0
    return values
