"""What a program may pass as an image, made into what is read: the bytes of a file, or pixels.

NumPy and Pillow are imported only where the program passes an array or a picture of theirs.
"""

import re
import sys
from io import BytesIO
from os import PathLike, fspath
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, TypeGuard, Union

from mien.model.errors import (
    BrokenImageError,
    ImageTooLargeError,
    MienError,
    UnsupportedImageError,
    UnsupportedVideoError,
    VideoTooLargeError,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as PillowImage

Image = Union[str, PathLike[str], bytes, bytearray, memoryview, IO[bytes], "PillowImage", "NDArray[Any]"]
"""An image: the path of its file, its bytes, a file opened in binary mode, a Pillow image, or a NumPy array.

An array is (h, w, 3) in the order of ``Colour``, or (h, w) or (h, w, 1) grey; uint8 from 0 to 255, or float from 0 to
1. A file is read from its beginning where it can seek.
"""

Colour = Literal["rgb", "bgr"]
"""The order of an array's channels: OpenCV has ``bgr``."""

Video = str | PathLike[str] | bytes | IO[bytes]
"""A video: the path of its file, its bytes, or a file opened in binary mode."""

_Kind = Literal["image", "video"]

_UNSUPPORTED: Final[dict[_Kind, type[MienError]]] = {"image": UnsupportedImageError, "video": UnsupportedVideoError}
_TOO_LARGE: Final[dict[_Kind, type[MienError]]] = {"image": ImageTooLargeError, "video": VideoTooLargeError}

_URL: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://|data:")

_PNG_LEVEL: Final = 1
"""Higher levels of compression take several times as long for a few percent."""


def read_image(
    image: Image, colour: Colour = "rgb", *, max_bytes: int | None = None, max_pixels: int | None = None
) -> "bytes | NDArray[np.uint8]":
    """The bytes of an image's file, or its pixels where it is an array or a Pillow image.

    Args:
        image: see ``Image``.
        colour: order of the channels of an array.
        max_bytes: a larger file is not read; None reads any.
        max_pixels: larger arrays are refused; None takes any.

    Returns:
        The bytes, or (h, w, 3) uint8 RGB.

    Raises:
        UnsupportedImageError: it is the address of a page, a closed file or one in text mode, or an array of another
            dtype, shape or range.
        ImageTooLargeError: it is over a limit.
        BrokenImageError: a Pillow image is closed or cut off.
        TypeError: it is none of ``Image``.
        OSError: its file cannot be read.
    """
    file = read_file_of(image, max_bytes=max_bytes)
    if file is not None:
        return file
    pixels = _pixels_of(image, colour, max_pixels)
    return pixels if pixels.ndim == 3 else pixels[:, :, None].repeat(3, axis=2)


def encode_image(image: Image, colour: Colour = "rgb") -> bytes:
    """The bytes of an image's file; arrays and Pillow images are encoded without loss, as PNG.

    Raises:
        UnsupportedImageError: as ``read_image``.
        BrokenImageError: as ``read_image``.
        TypeError: as ``read_image``.
        OSError: its file cannot be read.
    """
    file = read_file_of(image)
    if file is not None:
        return file
    from PIL import Image as Pillow

    buffer = BytesIO()
    Pillow.fromarray(_pixels_of(image, colour, None)).save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()


def read_video(video: Video, *, max_bytes: int | None = None) -> bytes:
    """The bytes of a video's file.

    Raises:
        UnsupportedVideoError: it is the address of a page, a closed file or one in text mode.
        VideoTooLargeError: it has more than ``max_bytes``.
        TypeError: it is none of ``Video``.
        OSError: its file cannot be read.
    """
    file = read_file_of(video, max_bytes=max_bytes, kind="video")
    if file is None:
        raise TypeError(f"a video must be a path, bytes or a file opened in binary mode, got {type(video).__name__}")
    return file


def read_file_of(image: Image, *, max_bytes: int | None = None, kind: _Kind = "image") -> bytes | None:
    """The bytes of a file given by its path, its bytes or an open file; None for anything else.

    Args:
        image: see ``Image`` and ``Video``.
        max_bytes: a larger file is not read; None reads any.
        kind: of the file.

    Raises:
        MienError: it is unsupported, or has more than ``max_bytes``: see ``read_image`` and ``read_video``.
        OSError: it cannot be read.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | PathLike):
        return _read_path(fspath(image), max_bytes, kind)
    return _read_open(image, max_bytes, kind) if _is_file(image) else None


def is_several(images: object) -> bool:
    """Whether several images were passed: a list or a tuple."""
    return isinstance(images, list | tuple)


def _read_path(path: str, max_bytes: int | None, kind: _Kind) -> bytes:
    if _URL.match(path):
        raise _UNSUPPORTED[kind](
            f"mien fetches nothing from the network: expected the path or the bytes of the {kind}, got {path[:80]!r}"
        )
    if max_bytes is not None:
        _check_size(Path(path).stat().st_size, max_bytes, kind)
    return Path(path).read_bytes()


def _read_open(file: IO[bytes], max_bytes: int | None, kind: _Kind) -> bytes:
    if file.closed:
        raise _UNSUPPORTED[kind](f"the file of the {kind} must be open, got a closed one")
    if file.seekable():
        file.seek(0)
    data: object = file.read() if max_bytes is None else file.read(max_bytes + 1)
    if not isinstance(data, bytes):
        raise _UNSUPPORTED[kind](f"the file of the {kind} must be opened in binary mode ('rb'), got one in text mode")
    if max_bytes is not None:
        _check_size(len(data), max_bytes, kind, "more")
    return data


def _check_size(count: int, max_bytes: int, kind: _Kind, got: str = "") -> None:
    if count > max_bytes:
        raise _TOO_LARGE[kind](f"expected the file of the {kind} to have at most {max_bytes} bytes, got {got or count}")


def _is_file(image: object) -> TypeGuard[IO[bytes]]:
    return all(hasattr(image, name) for name in ("read", "seekable", "closed"))


def _pixels_of(image: object, colour: Colour, max_pixels: int | None) -> "NDArray[np.uint8]":
    numpy, pillow = sys.modules.get("numpy"), sys.modules.get("PIL.Image")
    if numpy is not None and isinstance(image, numpy.ndarray):
        return _array_pixels(image, colour, max_pixels)
    if pillow is not None and isinstance(image, pillow.Image):
        from mien.model.faces.decoding import upright_pixels

        _check_pixels(image.width, image.height, max_pixels)
        return upright_pixels(image)
    raise TypeError(
        "an image must be a path, bytes, a file opened in binary mode, a Pillow image or a NumPy array, "
        f"got {type(image).__name__}"
    )


def _array_pixels(array: "NDArray[Any]", colour: Colour, max_pixels: int | None) -> "NDArray[np.uint8]":
    import numpy as np

    if colour not in ("rgb", "bgr"):
        raise UnsupportedImageError(f"colour must be 'rgb' or 'bgr', got {colour!r}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        advice = "; several images are passed as a list" if array.ndim == 4 else ""
        raise UnsupportedImageError(
            f"an image array must have the shape (h, w, 3), (h, w, 1) or (h, w), got {array.shape}{advice}"
        )
    height, width = array.shape[:2]
    _check_pixels(width, height, max_pixels)
    if array.dtype.kind == "f":
        lowest, highest = float(array.min()), float(array.max())
        if not (lowest >= 0 and highest <= 1):  # also false for NaN
            raise UnsupportedImageError(
                f"an image array of {array.dtype} must have values from 0 to 1, got {lowest:g} to {highest:g}"
            )
        array = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise UnsupportedImageError(f"an image array must be uint8, or float from 0 to 1, got {array.dtype}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    elif array.ndim == 3 and colour == "bgr":
        array = array[:, :, ::-1]
    return np.ascontiguousarray(array)


def _check_pixels(width: int, height: int, max_pixels: int | None) -> None:
    if width * height == 0:
        raise BrokenImageError(f"expected an image with pixels, got {width}x{height}")
    if max_pixels is not None and width * height > max_pixels:
        raise ImageTooLargeError(f"expected an image of at most {max_pixels} pixels, got {width}x{height}")
