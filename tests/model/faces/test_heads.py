"""Heads of image files: sizes, what is refused before decoding, and which files are plain."""

from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image

from mien.model.errors import BrokenImageError, ImageError, ImageTooLargeError
from mien.model.faces.heads import check_head, is_plain, read_head
from tests.support import hostile_pictures as hostile

MIB = 2**20


def encode(form: str, mode: str = "RGB", size: tuple[int, int] = (70, 50), **options: object) -> bytes:
    buffer = BytesIO()
    Image.new(mode, size).save(buffer, form, **options)
    return buffer.getvalue()


FILES = {
    "jpeg": encode("JPEG"),
    "grey jpeg": encode("JPEG", "L"),
    "cmyk jpeg": encode("JPEG", "CMYK"),
    "progressive jpeg": encode("JPEG", progressive=True),
    "png": encode("PNG"),
    "16-bit png": encode("PNG", "I;16"),
    "palette png": encode("PNG", "P"),
    "bmp": encode("BMP"),
    "gif": encode("GIF", "P"),
    "tiff": encode("TIFF"),
    "float tiff": encode("TIFF", "F"),
    "jpeg in tiff": encode("TIFF", compression="jpeg"),
    "big tiff": encode("TIFF", big_tiff=True),
    "lossy webp": encode("WEBP"),
    "lossless webp": encode("WEBP", lossless=True),
    "transparent webp": encode("WEBP", "RGBA"),
    "animated webp": encode("WEBP", save_all=True, append_images=[Image.new("RGB", (70, 50), "red")]),
    "avif": encode("AVIF"),
}


@pytest.mark.parametrize("name", FILES)
def test_size_is_read_of_each_format(name: str) -> None:
    head = read_head(FILES[name])
    assert head is not None
    assert (head.width, head.height) == (70, 50)
    assert 70 * 50 * 4 <= head.memory_bytes <= 70 * 50 * 40
    with pytest.raises(ImageTooLargeError, match="at most 3000 pixels, got 70x50"):
        check_head(FILES[name], 3000, 400 * MIB)
    with pytest.raises(ImageTooLargeError, match="at most 0 MiB to decode, got one of 70x50"):
        check_head(FILES[name], 10_000, 70 * 50)
    assert check_head(FILES[name], 3500, 400 * MIB) == head


def test_something_else_has_no_head() -> None:
    assert read_head(b"") is None
    assert read_head(b"%PDF-1.7") is None
    assert is_plain(b"%PDF-1.7"), "it is refused at once"


@pytest.mark.parametrize("name", FILES)
def test_cut_off_head_is_no_bug(name: str) -> None:
    data = FILES[name]
    for length in range(min(len(data), 400)):
        try:
            head = read_head(data[:length])
        except ImageError:
            continue
        assert head is None or head.memory_bytes >= 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scans", "at most 100 scans, got 30001"),
        ("tile", "takes at most 400 MiB to decode, got one of 64x64 pixels that takes 2018 MiB"),
        ("strips", "at most 65535 strips or tiles, got 1000000"),
        ("thin", "sides of at most 65535 pixels, got 1x50000000"),
        ("webp", "at most 50000000 pixels, got 16384x16384"),
        ("screen", "at most 50000000 pixels, got 65535x65535"),
        ("segments", "at most 1000 segments before its first scan"),
    ],
)
def test_files_that_ask_for_too_much_are_refused_by_their_head(name: str, message: str) -> None:
    with pytest.raises(ImageTooLargeError, match=message):
        check_head(hostile.HOSTILE[name](), 50_000_000, 400 * MIB)


def test_image_without_pixels_is_broken() -> None:
    with pytest.raises(BrokenImageError, match="with pixels, got 0x5"):
        check_head(hostile.png(0, 5, b""), 1000, MIB)


@pytest.mark.parametrize("name", ["jpeg", "grey jpeg", "cmyk jpeg", "png", "palette png", "bmp", "lossy webp"])
def test_small_files_that_are_simple_are_plain(name: str) -> None:
    assert is_plain(FILES[name])


@pytest.mark.parametrize(
    "make",
    [
        lambda: FILES["progressive jpeg"],
        lambda: FILES["lossless webp"],
        lambda: FILES["gif"],
        lambda: FILES["tiff"],
        lambda: FILES["avif"],
        lambda: encode("PNG", size=(1000, 400)),
        lambda: FILES["jpeg"] + bytes(MIB),
        hostile.text_chunks,
        hostile.exif_bomb,
        lambda: hostile.png(16, 16, b"", extra=hostile.chunk(b"tIME", b"") * 40),
    ],
)
def test_other_files_are_not_plain(make: Callable[[], bytes]) -> None:
    assert not is_plain(make())
