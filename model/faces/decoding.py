"""Decodes image files to upright RGB pixels, within limits.

The files are not trusted. They stay in memory: nothing is written to disk or logged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Final

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
from mien.model.faces.pixels import upright_array

FORMATS: Final = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WebP")
"""The formats that are decoded; of an animation or a file with several pages, the first picture."""


class DecodingLimits(BaseModel, frozen=True):
    """Limits of the size of an image."""

    max_bytes: PositiveInt = Field(20 * 2**20, description="Largest image file, bytes.")
    max_pixels: PositiveInt = Field(50_000_000, description="Largest image, width times height by its header, pixels.")
    max_memory_bytes: PositiveInt = Field(400 * 2**20, description="Most memory for decoding, by its header, bytes.")


DEFAULT_LIMITS: Final = DecodingLimits()


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
    data: bytes, limits: DecodingLimits = DEFAULT_LIMITS, min_px: int | None = None
) -> tuple[NDArray[np.uint8], int]:
    """Decode an image file as ``decode`` does, a JPEG at a fraction of its size where that is enough.

    The coefficients of a JPEG give the image at a half, a quarter or an eighth of its size several times as fast.

    Args:
        data: the whole file.
        limits: checked before decoding, on the full size.
        min_px: the longer side is not reduced below this; None reduces nothing.

    Returns:
        (h, w, 3) uint8 RGB, and by what factor it was reduced: 1, 2, 4 or 8.

    Raises:
        ImageError: as ``decode``.
    """
    image = _open(data, limits)
    with _damage_as_error():
        factor = _reduce(image, min_px) if min_px is not None and isinstance(image, JpegImageFile) else 1
        return upright_array(image, "RGB"), factor


def decode_grey(data: bytes, limits: DecodingLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Decode the grey levels of an image file, upright and on white as ``decode`` does.

    A JPEG stores them apart from its colours, which are not decoded: that takes half the time.

    Returns:
        (h, w) uint8 (ITU-R 601).

    Raises:
        ImageError: as ``decode``.
    """
    levels = _decode_plain_jpeg(data, limits)
    if levels is not None:
        return levels
    image = _open(data, limits)
    with _damage_as_error():
        if isinstance(image, JpegImageFile):
            image.draft("L", image.size)
        return upright_array(image, "L")


def _decode_plain_jpeg(data: bytes, limits: DecodingLimits) -> NDArray[np.uint8] | None:
    """The grey levels of a whole JPEG of the usual kind; None leaves any other file, and its error, to Pillow.

    The levels are those that Pillow decodes, by the same library. Of a face crop, most of Pillow's time goes by in
    Python: libjpeg-turbo called by itself takes a tenth to a half of it.
    """
    check_bytes(len(data), limits)
    check_head(data, limits.max_pixels, limits.max_memory_bytes)
    if not _is_plain_jpeg(data):
        return None
    try:
        height, width, _, _ = decode_jpeg_header(data)
        return decode_jpeg(data, "GRAY")[:, :, 0] if height * width <= limits.max_pixels else None
    except ValueError:  # cut off or damaged, which Pillow forgives in part
        return None


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


def _reduce(image: JpegImageFile, min_px: int) -> int:
    """Set a JPEG to be decoded at a fraction of its size; returns the factor."""
    width, height = image.size
    factor = next((factor for factor in (8, 4, 2) if max(width, height) >= factor * min_px), 1)
    if factor > 1:
        image.draft(None, (max(1, width // factor), max(1, height // factor)))
    return round(max(width, height) / max(image.size))


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
