"""What a program may pass as an image: each form gives the same pixels, and each wrong one a sentence."""

import subprocess
import sys
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mien.model.errors import (
    BrokenImageError,
    ImageError,
    ImageTooLargeError,
    UnsupportedImageError,
    UnsupportedVideoError,
    VideoTooLargeError,
)
from mien.model.faces.decoding import decode
from mien.model.faces.pictures import encode_image, read_image, read_video
from tests.support.cartoon import cartoon
from tests.support.images import encode


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return cartoon(60)


def test_files_are_read_whole(pixels: NDArray[np.uint8], tmp_path: Path) -> None:
    file = encode(pixels)
    path = tmp_path / "face.png"
    path.write_bytes(file)
    opened = BytesIO(file)
    opened.seek(0, 2)  # as after writing it
    with path.open("rb") as on_disk:
        for image in (path, str(path), file, bytearray(file), memoryview(file), opened, on_disk):
            assert read_image(image) == file
            assert encode_image(image) == file


def forms(pixels: NDArray[np.uint8]) -> list[tuple[Any, dict[str, Any]]]:
    """One picture in many forms, with the options that it is read with."""
    return [
        (pixels, {}),
        (np.asfortranarray(pixels), {}),
        (pixels[:, :, ::-1], {"colour": "bgr"}),
        (pixels.astype(np.float32) / 255, {}),
        (pixels.astype(np.float64) / 255, {}),
        (Image.fromarray(pixels), {}),
        (Image.fromarray(pixels).convert("RGBA"), {}),
        (Image.open(BytesIO(encode(pixels))), {}),
    ]


def test_every_form_of_a_picture_is_the_same_pixels(pixels: NDArray[np.uint8]) -> None:
    for image, options in forms(pixels):
        np.testing.assert_array_equal(read_image(image, **options), pixels)
        np.testing.assert_array_equal(decode(encode_image(image, **options)), pixels)


def test_grey_arrays_are_grey_pixels(pixels: NDArray[np.uint8]) -> None:
    grey = pixels[:, :, 0]
    for image in (grey, grey[:, :, None], grey / np.float32(255), Image.fromarray(grey)):
        expected = np.stack([grey] * 3, axis=2)
        np.testing.assert_array_equal(read_image(image), expected)
        np.testing.assert_array_equal(decode(encode_image(image)), expected)


def test_pillow_image_is_turned_upright_and_put_on_white() -> None:
    wide = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    exif = wide.getexif()
    exif[0x0112] = 6
    buffer = BytesIO()
    wide.save(buffer, "PNG", exif=exif)
    read = read_image(Image.open(buffer))
    assert isinstance(read, np.ndarray)
    assert read.shape == (20, 10, 3)
    assert read.min() == 255


def closed_file() -> BytesIO:
    file = BytesIO(b"x")
    file.close()
    return file


def closed_picture() -> Image.Image:
    picture = Image.open(BytesIO(encode(cartoon(30))))
    picture.close()
    return picture


@pytest.mark.parametrize(
    ("image", "error", "sentence"),
    [
        ("https://example.org/a.jpg", UnsupportedImageError, "fetches nothing from the network.*got 'https://exa"),
        ("data:image/png;base64,AAAA", UnsupportedImageError, "fetches nothing"),
        (closed_file(), UnsupportedImageError, "must be open, got a closed one"),
        (StringIO("text"), UnsupportedImageError, "binary mode"),
        (closed_picture(), BrokenImageError, "got one that is closed, cut off or damaged"),
        (np.zeros((4, 4, 3), np.int64), UnsupportedImageError, "must be uint8, or float from 0 to 1, got int64"),
        (np.zeros((4, 4), bool), UnsupportedImageError, "got bool"),
        (np.full((4, 4, 3), 200.0), UnsupportedImageError, "float64 must have values from 0 to 1, got 200 to 200"),
        (np.full((4, 4), np.nan, np.float32), UnsupportedImageError, "from 0 to 1, got nan to nan"),
        (np.zeros((4, 4, 4), np.uint8), UnsupportedImageError, r"got \(4, 4, 4\)$"),
        (np.zeros((3, 40, 40), np.uint8), UnsupportedImageError, r"\(h, w, 3\), .* got \(3, 40, 40\)$"),
        (np.zeros((2, 4, 4, 3), np.uint8), UnsupportedImageError, "several images are passed as a list"),
        (np.zeros(4, np.uint8), UnsupportedImageError, r"got \(4,\)"),
        (np.zeros((0, 4, 3), np.uint8), BrokenImageError, "with pixels, got 4x0"),
        (None, TypeError, "a NumPy array, got NoneType"),
        (42, TypeError, "got int"),
        ([[0, 1]], TypeError, "got list"),
    ],
)
@pytest.mark.parametrize("read", [read_image, encode_image])
def test_wrong_image_is_refused_by_a_sentence(
    read: Callable[[Any], object], image: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as caught:
        read(image)
    assert "\n" not in str(caught.value)


def test_unknown_colour_is_refused() -> None:
    with pytest.raises(UnsupportedImageError, match="colour must be 'rgb' or 'bgr', got 'hsv'"):
        read_image(np.zeros((4, 4, 3), np.uint8), "hsv")  # type: ignore[arg-type]


def test_limits_are_checked_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(100))
    for image in (path, BytesIO(bytes(100))):
        with pytest.raises(ImageTooLargeError, match="at most 99 bytes"):
            read_image(image, max_bytes=99)
        assert read_image(image, max_bytes=100) == bytes(100)
        with pytest.raises(VideoTooLargeError, match="file of the video"):
            read_video(image, max_bytes=99)
    for picture in (np.zeros((10, 10, 3), np.uint8), Image.new("L", (10, 10))):
        with pytest.raises(ImageTooLargeError, match="at most 99 pixels, got 10x10"):
            read_image(picture, max_pixels=99)


def test_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "gone.png")


def test_videos_are_files() -> None:
    assert read_video(BytesIO(b"GIF89a")) == b"GIF89a"
    with pytest.raises(UnsupportedVideoError, match="bytes of the video"):
        read_video("rtsp://camera")
    with pytest.raises(TypeError, match="a video must be a path, bytes or a file opened in binary mode, got int"):
        read_video(3)  # type: ignore[arg-type]
    assert not issubclass(UnsupportedVideoError, ImageError)


def test_files_need_neither_numpy_nor_pillow(tmp_path: Path) -> None:
    """The client sends files without loading them."""
    (tmp_path / "a.png").write_bytes(b"bytes")
    program = f"""
import sys
from mien import Client
from mien.model.faces.pictures import encode_image
Client("localhost:1").close()
assert encode_image({str(tmp_path / "a.png")!r}) == b"bytes"
print([name for name in ("numpy", "PIL", "pandas", "fastapi", "onnxruntime") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
