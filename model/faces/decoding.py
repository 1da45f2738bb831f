"""Decodes image files to upright RGB pixels, within limits.

The files are not trusted. They stay in memory: nothing is written to disk or logged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pydantic import BaseModel, Field, PositiveInt
from simplejpeg import decode_jpeg, decode_jpeg_header

from mien.model.errors import BrokenImageError, EmptyImageError, ImageTooLargeError, UnsupportedImageError
from mien.model.faces.heads import check_head
from mien.model.faces.pixels import is_sideways, upright_array

FORMATS: Final = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WebP")
"""The formats that are decoded; of an animation or a file with several pages, the first picture."""


class DecodingLimits(BaseModel, frozen=True):
    """Limits of the size of an image."""

    max_bytes: PositiveInt = Field(20 * 2**20, description="Largest image file, bytes.")
    max_pixels: PositiveInt = Field(50_000_000, description="Largest image, width times height by its header, pixels.")
    max_memory_bytes: PositiveInt = Field(400 * 2**20, description="Most memory for decoding, by its header, bytes.")


DEFAULT_LIMITS: Final = DecodingLimits()

MAX_CPU_S: Final = 2.5
"""CPU time for reading a picture in a process for it, if nothing else is said; one of 50 megapixels takes up to 2 s."""


def decode(data: bytes, limits: DecodingLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Decode an image file.

    The image is rotated by its EXIF orientation, and transparent parts are drawn on white. Grey levels of more than
    8 bits are scaled to 8.

    Args:
        data: the whole file.
        limits: checked before decoding.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        EmptyImageError: there are no bytes.
        ImageTooLargeError: there are more bytes or pixels than the limit.
        UnsupportedImageError: the bytes are not an image in one of ``FORMATS``.
        BrokenImageError: the image is cut off or damaged.
    """
    return decode_reduced(data, limits)[0]


def decode_reduced(
    data: bytes,
    limits: DecodingLimits = DEFAULT_LIMITS,
    min_px: float | None = None,
    mode: Literal["RGB", "L"] = "RGB",
) -> tuple[NDArray[np.uint8], int]:
    """Decode an image file as ``decode`` does, a JPEG at a fraction of its size where that is enough.

    The coefficients of a JPEG give the image at a half, a quarter or an eighth of its size in less time.

    Args:
        data: the whole file.
        limits: checked before decoding, on the full size.
        min_px: the longer side is not reduced below this; None reduces nothing.
        mode: RGB, or L for grey levels as of ``decode_grey``.

    Returns:
        (h, w, 3) uint8 RGB or (h, w) grey, and by what factor it was reduced: 1, 2, 4 or 8.

    Raises:
        ImageError: as ``decode``.
    """
    plain = _decode_plain_jpeg(data, limits, min_px, mode)
    if plain is not None:
        return plain
    image = _open(data, limits)
    with _damage_as_error():
        factor = 1
        if isinstance(image, JpegImageFile):
            width, height = image.size
            factor = _factor(max(image.size), min_px)
            image.draft("L" if mode == "L" else None, (max(1, width // factor), max(1, height // factor)))
            factor = round(max(width, height) / max(image.size))
        return upright_array(image, mode), factor


def upright_size(data: bytes, limits: DecodingLimits = DEFAULT_LIMITS) -> tuple[int, int]:
    """Width and height of the picture of an image file, upright, by its header.

    Raises:
        ImageError: as ``decode``, as far as the header shows it.
    """
    image = _open(data, limits)
    width, height = image.size
    return (height, width) if is_sideways(image) else (width, height)


def decode_grey(data: bytes, limits: DecodingLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Decode the grey levels of an image file, upright and on white as ``decode`` does.

    A JPEG stores them apart from its colours, which are not decoded: that takes half the time.

    Returns:
        (h, w) uint8 (ITU-R 601).

    Raises:
        ImageError: as ``decode``.
    """
    return decode_reduced(data, limits, mode="L")[0]


def _decode_plain_jpeg(
    data: bytes, limits: DecodingLimits, min_px: float | None, mode: Literal["RGB", "L"]
) -> tuple[NDArray[np.uint8], int] | None:
    """``decode_reduced`` of a whole JPEG of the usual kind; None leaves any other file, and its error, to Pillow.

    The levels are those that Pillow decodes, by the same library. Of a face crop, most of Pillow's time goes by in
    Python: libjpeg-turbo called by itself takes a tenth to a half of it.
    """
    check_bytes(len(data), limits)
    check_head(data, limits.max_pixels, limits.max_memory_bytes)
    if not _is_plain_jpeg(data):
        return None
    try:
        height, width, _, _ = decode_jpeg_header(data)
        if height * width > limits.max_pixels:
            return None
        factor = _factor(max(width, height), min_px)
        least = {"min_height": -(-height // factor), "min_width": -(-width // factor)} if factor > 1 else {}
        image = decode_jpeg(data, "GRAY" if mode == "L" else "RGB", **least)
    except ValueError:  # cut off or damaged, which Pillow forgives in part
        return None
    return (image[:, :, 0] if mode == "L" else image), factor


def _factor(longest: int, min_px: float | None) -> int:
    """By how much a JPEG can be reduced."""
    return next((factor for factor in (8, 4, 2) if min_px and longest >= factor * min_px), 1)


_TABLES: Final = frozenset((0xC4, 0xDB, 0xDD, 0xE0, 0xFE))
"""Markers of the segments of a JPEG that hold tables, the header of JFIF and comments."""


def _is_plain_jpeg(data: bytes) -> bool:
    """Whether a file is a baseline JPEG in one scan, grey or YCbCr, and without EXIF data, which may turn it."""
    at, components = 2, 0
    while data[:2] == b"\xff\xd8" and data[at : at + 1] == b"\xff" and at + 10 < len(data):
        marker = data[at + 1]
        if marker == 0xC0:
            components = data[at + 9]
        elif marker == 0xDA:
            return components in (1, 3) and data[at + 4] == components
        elif marker not in _TABLES:
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return False


def upright_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 RGB of a picture that Pillow opened or made, upright and on white as ``decode`` does.

    Raises:
        BrokenImageError: it is closed, cut off or damaged.
    """
    with _damage_as_error("a whole and open Pillow image, got one that is closed, cut off or damaged"):
        return upright_array(image, "RGB")


def _open(data: bytes, limits: DecodingLimits) -> ImageFile:
    """Read the header of an image, and check its size."""
    check_bytes(len(data), limits)
    check_head(data, limits.max_pixels, limits.max_memory_bytes)
    plugin = _plugin(data)
    if plugin is None:
        raise UnsupportedImageError(
            f"expected an image ({', '.join(FORMATS)}), got {len(data)} bytes of something else"
        )
    with _damage_as_error():
        image = plugin(BytesIO(data))
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(f"expected an image of at most {limits.max_pixels} pixels, got {width}x{height}")
    if width * height == 0:
        raise BrokenImageError(f"expected an image with pixels, got {width}x{height}")
    return image


def read_file(path: Path, limits: DecodingLimits = DEFAULT_LIMITS) -> bytes:
    """Read an image file; its size is checked first.

    Raises:
        EmptyImageError: the file has no bytes.
        ImageTooLargeError: it has more than the limit.
        OSError: it cannot be read.
    """
    check_bytes(path.stat().st_size, limits)
    return path.read_bytes()


def check_bytes(count: int, limits: DecodingLimits) -> None:
    """Check the size of an image file before it is read.

    Raises:
        EmptyImageError: ``count`` is 0.
        ImageTooLargeError: ``count`` is above the limit.
    """
    if count == 0:
        raise EmptyImageError("expected an image file, got no bytes")
    if count > limits.max_bytes:
        raise ImageTooLargeError(f"expected an image file of at most {limits.max_bytes} bytes, got {count}")


_SIGNATURES: Final[tuple[tuple[int, bytes, type[ImageFile]], ...]] = (
    (0, b"\xff\xd8\xff", JpegImageFile),
    (0, b"\x89PNG\r\n\x1a\n", PngImageFile),
    (8, b"WEBP", WebPImageFile),
    (0, b"GIF8", GifImageFile),
    (0, b"BM", BmpImageFile),
    (0, b"II*\0", TiffImageFile),
    (0, b"MM\0*", TiffImageFile),
    (0, b"II+\0", TiffImageFile),
    (0, b"MM\0+", TiffImageFile),
    # Pillow can be built without AVIF.
    *((4, b"ftyp" + brand, AvifImageFile) for brand in (b"avif", b"avis") if features.check("avif")),
)


def _plugin(data: bytes) -> type[ImageFile] | None:
    """Pillow's class for the format of a file, by its first bytes.

    ``Image.open`` is not used: it does not tell a damaged image from something else, and its warning about large
    images has a limit that can only be changed for the whole process.
    """
    return next((plugin for at, signature, plugin in _SIGNATURES if data.startswith(signature, at)), None)


@contextmanager
def _damage_as_error(
    expected: str = "a whole image, got one that is cut off or damaged",
) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError("expected an image of ordinary size, got one that Pillow refuses") from error
    except MemoryError:
        raise
    except Exception as error:
        raise BrokenImageError(f"expected {expected}") from error
