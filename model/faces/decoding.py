"""The bytes of an image file to upright RGB pixels, within limits.

The bytes come from anywhere. They are held in memory alone: nothing is written to disk and nothing is logged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pydantic import BaseModel, Field, PositiveInt

from mien.model.errors import BrokenImageError, EmptyImageError, ImageTooLargeError, UnsupportedImageError

FORMATS: Final = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WebP")
"""The formats that are decoded; of a moving or many-page image, the first picture."""


class DecodingLimits(BaseModel, frozen=True):
    """What an image may ask of the machine."""

    max_bytes: PositiveInt = Field(20 * 2**20, description="Largest image file, bytes.")
    max_pixels: PositiveInt = Field(50_000_000, description="Largest image, width times height by its header, pixels.")


DEFAULT_LIMITS: Final = DecodingLimits()


def decode(data: bytes, limits: DecodingLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Decode an image file.

    The picture is turned as its EXIF orientation says and laid on white where it is transparent; grey levels of
    more than 8 bits are scaled to 8.

    Args:
        data: the whole file.
        limits: checked before anything is decoded.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        EmptyImageError: there are no bytes.
        ImageTooLargeError: there are more bytes or pixels than the limit.
        UnsupportedImageError: the bytes are not an image in one of ``FORMATS``.
        BrokenImageError: the image ends early or is damaged.
    """
    return decode_reduced(data, limits)[0]


def decode_reduced(
    data: bytes, limits: DecodingLimits = DEFAULT_LIMITS, enough_px: int | None = None
) -> tuple[NDArray[np.uint8], int]:
    """Decode an image file, as ``decode`` does, at the size at which it is enough and cheapest.

    A JPEG file holds the coefficients of its picture at a half, a quarter and an eighth of its size, too, and those
    are decoded several times as fast.

    Args:
        data: the whole file.
        limits: checked before anything is decoded, on the picture's own size.
        enough_px: the longer side may be reduced down to this, but not below; None reduces nothing.

    Returns:
        (h, w, 3) uint8 RGB, and how many pixels of the file's picture each of its pixels is wide: 1, 2, 4 or 8.

    Raises:
        ImageError: as ``decode``.
    """
    image = _opened(data, limits)
    with _damage_as_error():
        factor = _reduce(image, enough_px) if enough_px is not None and isinstance(image, JpegImageFile) else 1
        return _pixels(image, "RGB"), factor


def decode_grey(data: bytes, limits: DecodingLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Decode the grey levels of an image file, as the network takes them: upright and on white, as ``decode`` does.

    Those of a JPEG file are taken as they are stored; decoding its colours would take as long again.

    Returns:
        (h, w) uint8 (ITU-R 601).

    Raises:
        ImageError: as ``decode``.
    """
    image = _opened(data, limits)
    with _damage_as_error():
        if isinstance(image, JpegImageFile):
            image.draft("L", image.size)
        return _pixels(image, "L")


def _opened(data: bytes, limits: DecodingLimits) -> ImageFile:
    """An image whose head has been read, within limits."""
    check_bytes(len(data), limits)
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


def _reduce(image: JpegImageFile, enough_px: int) -> int:
    """Have a JPEG decoded at a fraction of its size; returns by how much."""
    width, height = image.size
    factor = next((factor for factor in (8, 4, 2) if max(width, height) >= factor * enough_px), 1)
    if factor > 1:
        image.draft(None, (max(1, width // factor), max(1, height // factor)))
    return round(max(width, height) / max(image.size))


def read_file(path: Path, limits: DecodingLimits = DEFAULT_LIMITS) -> bytes:
    """The bytes of an image file; their number is checked before they are read.

    Raises:
        ImageError: there are none, or too many.
        OSError: the file cannot be read.
    """
    check_bytes(path.stat().st_size, limits)
    return path.read_bytes()


def check_bytes(count: int, limits: DecodingLimits) -> None:
    """Refuse a file by its size, before it is read.

    Args:
        count: of its bytes.
        limits: of an image.

    Raises:
        EmptyImageError: there are none.
        ImageTooLargeError: there are too many.
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
    """Pillow's class for the format that the first bytes tell.

    The classes are called by their names, not through ``Image.open``: that one cannot tell a damaged image from no
    image, and it warns by a limit on pixels of its own that only a setting of the whole process can change.
    """
    return next((plugin for at, signature, plugin in _SIGNATURES if data.startswith(signature, at)), None)


@contextmanager
def _damage_as_error() -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError("expected an image of ordinary size, got one that Pillow refuses") from error
    except MemoryError:
        raise
    except Exception as error:
        raise BrokenImageError("expected a whole image, got one that is cut off or damaged") from error


def _pixels(image: ImageFile, mode: Literal["RGB", "L"]) -> NDArray[np.uint8]:
    image.load()
    picture = _upright(image)
    if picture.mode.startswith(("I", "F")):
        picture = Image.fromarray(_to_8_bit(np.asarray(picture)))
    elif picture.has_transparency_data:
        paper = Image.new("RGBA", picture.size, "white")
        paper.alpha_composite(picture.convert("RGBA"))
        picture = paper
    return np.asarray(picture.convert(mode), dtype=np.uint8)


_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: ImageFile) -> Image.Image:
    """Turn by the EXIF orientation; one that cannot be read spoils no picture."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  as above: EXIF is one more hostile format
        return image
    return image if turn is None else image.transpose(turn)


_WHITES: Final = (1, 255, 4095, 65535)


def _to_8_bit(levels: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.uint8]:
    """Scale wide grey levels to 0 to 255.

    Files do not say what their white is: it is taken to be the first of 1 (for fractions), 255, 4095 (12-bit
    cameras) and 65535 that holds the brightest level, or else the brightest level itself; black is 0, or the
    darkest level where it is negative.
    """
    values = levels.astype(np.float32)
    values[~np.isfinite(values)] = 0
    black, brightest = min(0.0, float(values.min())), float(values.max())
    whites = _WHITES if np.issubdtype(levels.dtype, np.floating) else _WHITES[1:]
    white = next((white for white in whites if brightest <= white), brightest)
    scale = 255 / (white - black)
    values *= scale
    values -= black * scale
    return np.rint(values).clip(0, 255).astype(np.uint8)
