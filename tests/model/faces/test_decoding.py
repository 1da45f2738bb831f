import io
import struct
import warnings
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, features

from mien.model.errors import BrokenImageError, EmptyImageError, ImageError, ImageTooLargeError, UnsupportedImageError
from mien.model.faces import decoding
from mien.model.faces.decoding import DecodingLimits, decode, decode_grey, decode_reduced, read_file
from tests.support.images import encode

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"] + (["AVIF"] if features.check("avif") else [])


def scene(width: int = 24, height: int = 16) -> Image.Image:
    """A smooth picture whose four corners differ."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, (across + down) / 2], axis=2).astype(np.uint8))


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), *chunks, (b"IEND", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("image_format", FORMATS)
def test_each_format_gives_the_picture(image_format: str) -> None:
    decoded = decode(encode(scene(), image_format))
    assert decoded.shape == (16, 24, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - np.asarray(scene()).astype(int)).mean() < 12  # GIF has 256 colours


@pytest.mark.parametrize("image_format", FORMATS)
def test_one_pixel_is_an_image(image_format: str) -> None:
    assert decode(encode(Image.new("RGB", (1, 1), "white"), image_format)).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(image_format: str, orientation: int) -> None:
    upright = np.asarray(scene())
    # How each orientation stores an upright picture (EXIF 2.3, 4.6.4 A): its 0th row and 0th column.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, 3),
    }[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    faithful: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
    options = faithful.get(image_format, {})
    data = encode(Image.fromarray(np.ascontiguousarray(stored)), image_format, exif=exif, **options)
    decoded = decode(data)
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright.astype(int)).mean() < 4


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow warns and goes on
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_damaged_exif_is_ignored(exif: bytes) -> None:
    assert decode(encode(scene(), "JPEG", exif=exif)).shape == (16, 24, 3)


def test_unknown_orientation_is_upright() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 99
    assert np.array_equal(decode(encode(scene(), exif=exif)), np.asarray(scene()))


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_picture_of_many(image_format: str) -> None:
    red, blue = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    decoded = decode(encode(red, image_format, save_all=True, append_images=[blue]))
    assert np.abs(decoded.astype(int) - (255, 0, 0)).max() <= 3


def test_multi_picture_jpeg() -> None:
    data = encode(scene(), "MPO", save_all=True, append_images=[Image.new("RGB", (24, 16))])
    assert np.abs(decode(data).astype(int) - np.asarray(scene()).astype(int)).mean() < 12


def grey(levels: NDArray[Any], image_format: str) -> list[int]:
    decoded = decode(encode(Image.fromarray(levels), image_format))
    assert np.array_equal(decoded[..., 0], decoded[..., 1])
    assert np.array_equal(decoded[..., 0], decoded[..., 2])
    return [int(level) for level in decoded[0, :, 0]]


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_by_its_range(image_format: str) -> None:
    assert grey(np.array([[0, 257, 32896, 65535]], np.uint16), image_format) == [0, 1, 128, 255]
    assert grey(np.array([[0, 2048, 4095]], np.uint16), image_format) == [0, 128, 255]
    assert grey(np.array([[0, 7, 255]], np.uint16), image_format) == [0, 7, 255]


def test_32_bit_grey() -> None:
    assert grey(np.array([[0, 7, 255]], np.int32), "TIFF") == [0, 7, 255]
    assert grey(np.array([[-100, 0, 65535 - 100]], np.int32), "TIFF") == [0, 0, 255]
    assert grey(np.array([[0, 10**9, 2 * 10**9]], np.int32), "TIFF") == [0, 128, 255]
    assert grey(np.zeros((1, 2), np.int32), "TIFF") == [0, 0]


def test_floating_grey() -> None:
    assert grey(np.array([[0, 0.5, 1]], np.float32), "TIFF") == [0, 128, 255]
    assert grey(np.array([[0, 7, 255]], np.float32), "TIFF") == [0, 7, 255]
    assert grey(np.array([[np.nan, np.inf, -np.inf, 1]], np.float32), "TIFF") == [0, 0, 0, 255]
    assert grey(np.array([[-3e38, 0, 3e38]], np.float32), "TIFF") == [0, 128, 255]


def test_16_bit_colour() -> None:
    row = b"\0" + struct.pack(">6H", 0, 32896, 65535, 65535, 257, 0)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = png(2, 1, (b"IDAT", zlib.compress(row)))
    wide = data.replace(data[16:33], header + struct.pack(">I", zlib.crc32(b"IHDR" + header)))
    assert decode(wide).tolist() == [[[0, 128, 255], [255, 1, 0]]]


def test_transparency_shows_white() -> None:
    rgba = Image.fromarray(np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8))
    assert decode(encode(rgba)).tolist() == [[[255, 0, 0], [255, 255, 255], [127, 127, 127]]]
    la = Image.fromarray(np.array([[[9, 255], [9, 0]]], np.uint8), "LA")
    assert decode(encode(la)).tolist() == [[[9, 9, 9], [255, 255, 255]]]


def test_palettes() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert decode(encode(palette)).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    for transparency in (1, b"\xff\x00"):
        decoded = decode(encode(palette, transparency=transparency))
        assert decoded.tolist() == [[[10, 20, 30], [255, 255, 255]]]
    assert decode(encode(palette, "GIF", transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_transparent_colour_of_a_png_without_alpha() -> None:
    assert decode(encode(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3))).tolist() == [[[255] * 3]]
    assert decode(encode(Image.new("L", (1, 1), 7), transparency=7)).tolist() == [[[255] * 3]]


def test_other_colour_spaces() -> None:
    bits = Image.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    assert decode(encode(bits)).tolist() == [[[0] * 3, [255] * 3]]
    red = Image.new("RGB", (8, 8), (200, 30, 60))
    for image_format, mode in (("JPEG", "CMYK"), ("TIFF", "CMYK"), ("TIFF", "YCbCr")):
        decoded = decode(encode(red.convert(mode), image_format))
        assert np.abs(decoded.astype(int) - (200, 30, 60)).max() <= 6, (image_format, mode)


def test_no_bytes_are_refused() -> None:
    with pytest.raises(EmptyImageError):
        decode(b"")


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("face.png", encode(scene()))
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"hello, this is text",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"<!doctype html><title>404</title>",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"\x7fELF\x02\x01\x01" + bytes(64),
        archive(),
    ],
)
def test_other_bytes_are_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedImageError, match="expected an image"):
        decode(data)


@pytest.mark.parametrize("image_format", ["PPM", "ICO", "TGA", "EPS", "PDF", "PCX"])
def test_formats_that_are_not_decoded(image_format: str) -> None:
    with pytest.raises(UnsupportedImageError):
        decode(encode(scene(), image_format))


def test_random_bytes_are_no_image() -> None:
    rng = np.random.default_rng(0)
    for length in rng.integers(1, 3000, 200):
        with pytest.raises(ImageError):
            decode(rng.bytes(int(length)))


@pytest.mark.parametrize("image_format", FORMATS)
def test_signature_and_then_random_bytes_is_broken(image_format: str) -> None:
    rng = np.random.default_rng(1)
    start = encode(scene(), image_format)[:16]
    for length in rng.integers(0, 500, 100):
        with pytest.raises((BrokenImageError, ImageTooLargeError)):
            decode(start + rng.bytes(int(length)))


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_truncation_is_refused(image_format: str) -> None:
    data = encode(scene(), image_format)
    whole = decode(data)
    refused = 0
    for length in range(1, len(data)):
        try:
            decoded = decode(data[:length])
        except (BrokenImageError, UnsupportedImageError):
            refused += 1
        else:  # only bytes after the last pixel are missing
            assert np.array_equal(decoded, whole), length
            assert length > len(data) // 2
    assert refused > len(data) // 2


@pytest.mark.parametrize("image_format", FORMATS)
def test_damage_raises_nothing_but_image_errors(image_format: str) -> None:
    rng = np.random.default_rng(2)
    data = np.frombuffer(encode(scene(), image_format), np.uint8)
    decoded = 0
    for _ in range(150):
        damaged = data.copy()
        damaged[rng.integers(0, len(data), 3)] = rng.integers(0, 256, 3)
        with suppress(ImageError):
            decoded += decode(damaged.tobytes(), DecodingLimits(max_pixels=100_000)).ndim == 3
    assert decoded < 150


@pytest.mark.parametrize(("width", "height"), [(0, 0), (0, 5), (5, 0)])
def test_image_without_pixels_is_broken(width: int, height: int) -> None:
    with pytest.raises(BrokenImageError):
        decode(png(width, height, (b"IDAT", zlib.compress(b""))))


@pytest.mark.parametrize("side", [8_000, 10_000, 14_000, 100_000, 2**31 - 1])
def test_too_many_pixels_are_refused_by_the_header(side: int) -> None:
    # Nothing follows the header: had it been decoded, it would be broken.
    with pytest.raises(ImageTooLargeError, match=f"{side}x{side}"):
        decode(png(side, side, (b"IDAT", b"")))


@pytest.mark.parametrize("side", [8_000, 10_000, 60_000])
def test_too_many_pixels_in_a_gif(side: int) -> None:
    data = bytearray(encode(scene(), "GIF"))
    data[6:10] = struct.pack("<HH", side, side)
    with pytest.raises(ImageTooLargeError):
        decode(bytes(data))


def test_pixel_limit_is_exact() -> None:
    data = encode(scene(20, 10))
    assert decode(data, DecodingLimits(max_pixels=200)).shape == (10, 20, 3)
    with pytest.raises(ImageTooLargeError, match="at most 199 pixels, got 20x10"):
        decode(data, DecodingLimits(max_pixels=199))


def test_byte_limit_is_exact() -> None:
    data = encode(scene())
    assert decode(data, DecodingLimits(max_bytes=len(data))).shape == (16, 24, 3)
    with pytest.raises(ImageTooLargeError, match=f"at most {len(data) - 1} bytes, got {len(data)}"):
        decode(data, DecodingLimits(max_bytes=len(data) - 1))


def test_limit_of_pillow_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(encode(scene())).shape == (16, 24, 3)


def test_global_state_of_pillow_is_unchanged() -> None:
    def settings() -> tuple[object, ...]:
        return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, TiffImagePlugin.READ_LIBTIFF

    before = settings()
    decode(encode(scene()))
    with pytest.raises(BrokenImageError):
        decode(encode(scene(), "JPEG")[:300])
    assert settings() == before


def test_huge_tiles_of_a_small_tiff_are_refused() -> None:
    entries = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in ((256, 10), (257, 10), (258, 8), (259, 8), (262, 1), (277, 1), (322, 65520), (323, 65520)):
        entries[tag] = value
    entries[324], entries[325] = 8, 8
    file = io.BytesIO()
    file.write(b"II*\0\x08\0\0\0")
    entries.save(file)
    with pytest.raises(ImageError):
        decode(file.getvalue())


def test_file_is_read_as_its_bytes_are(tmp_path: Path) -> None:
    path = tmp_path / "scene.png"
    path.write_bytes(encode(scene()))
    assert np.array_equal(decode(read_file(path)), np.asarray(scene()))


def test_size_is_checked_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: reading it would not fit in memory
    with pytest.raises(ImageTooLargeError):
        read_file(path)
    path.write_bytes(b"")
    with pytest.raises(EmptyImageError):
        read_file(path)


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none.jpg")


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        DecodingLimits(max_pixels=0)


@pytest.mark.parametrize(
    ("width", "height", "min_px", "factor"),
    [
        (800, 600, 801, 1),
        (800, 600, 401, 1),
        (800, 600, 400, 2),
        (600, 800, 200, 4),
        (801, 599, 100, 8),
        (801, 599, 1, 8),
        (9, 2000, 250, 8),
    ],
)
def test_jpeg_is_reduced_but_not_below_the_minimum(width: int, height: int, min_px: int, factor: int) -> None:
    data = encode(scene(width, height), "JPEG", quality=95)
    reduced, by = decode_reduced(data, min_px=min_px)
    assert by == factor
    assert reduced.shape == (-(-height // factor), -(-width // factor), 3)
    averaged = np.asarray(Image.fromarray(decode(data)).reduce(factor), dtype=np.int16)
    assert np.abs(reduced.astype(np.int16) - averaged).max() <= 12


def test_reduced_jpeg_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    data = encode(scene(800, 600), "JPEG", exif=exif)
    reduced, factor = decode_reduced(data, min_px=200)
    assert factor == 4
    assert reduced.shape == (200, 150, 3)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_only_jpeg_is_reduced(image_format: str) -> None:
    reduced, factor = decode_reduced(encode(scene(800, 600), image_format), min_px=100)
    assert factor == 1
    assert reduced.shape == (600, 800, 3)


def test_limit_on_pixels_is_that_of_the_file() -> None:
    with pytest.raises(ImageTooLargeError, match="800x600"):
        decode_reduced(encode(scene(800, 600), "JPEG"), DecodingLimits(max_pixels=800 * 600 - 1), min_px=100)


def test_reduced_jpeg_that_is_cut_off_is_broken() -> None:
    data = encode(scene(800, 600), "JPEG")
    with pytest.raises(BrokenImageError):
        decode_reduced(data[: len(data) // 2], min_px=100)


@pytest.mark.parametrize(("image_format", "within"), [("JPEG", 2), ("PNG", 0), ("WebP", 0)])
def test_grey_levels_are_those_of_the_colours(image_format: str, within: int) -> None:
    data = encode(scene(80, 60), image_format)
    colours = np.asarray(Image.fromarray(decode(data)).convert("L")).astype(int)
    grey = decode_grey(data)
    assert grey.dtype == np.uint8
    assert np.abs(grey - colours).max() <= within


def test_grey_levels_have_the_same_limits() -> None:
    with pytest.raises(ImageTooLargeError):
        decode_grey(encode(scene(80, 60), "JPEG"), DecodingLimits(max_pixels=80 * 60 - 1))
    with pytest.raises(BrokenImageError):
        decode_grey(encode(scene(80, 60), "JPEG")[:400])


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 30},
        {"subsampling": 0},
        {"subsampling": 2},
        {"progressive": True},
        {"comment": b"crop"},
        {"dpi": (72, 72)},
    ],
)
def test_grey_levels_of_a_jpeg_are_those_of_pillow(mode: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    for width, height in ((1, 1), (48, 48), (75, 41), (160, 161)):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        data = encode(Image.fromarray(pixels).convert(mode), "JPEG", **options)
        with Image.open(io.BytesIO(data)) as opened:
            opened.draft("L", opened.size)
            levels = np.asarray(opened.convert("L"))
        assert np.array_equal(decode_grey(data), levels)


def test_grey_levels_are_turned_as_the_exif_data_says() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    data = encode(scene(80, 60), "JPEG", exif=exif)
    assert decode_grey(data).shape == (80, 60)
    assert np.array_equal(decode_grey(data), np.rot90(decode_grey(encode(scene(80, 60), "JPEG")), -1))


def test_damaged_jpeg_has_the_grey_levels_or_the_error_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    data = np.frombuffer(encode(scene(64, 48), "JPEG"), np.uint8)
    files = [data[:length].tobytes() for length in range(1, len(data), 7)]
    for _ in range(200):
        damaged = data.copy()
        damaged[rng.integers(2, len(data), 3)] = rng.integers(0, 256, 3)
        files.append(damaged.tobytes())
    found = [_levels_or_error(file) for file in files]
    monkeypatch.setattr(decoding, "_is_plain_jpeg", lambda _: False)
    assert found == [_levels_or_error(file) for file in files]


def _levels_or_error(data: bytes) -> object:
    try:
        return decode_grey(data).tolist()
    except ImageError as error:
        return str(error)


def test_head_is_checked_before_every_way_of_decoding() -> None:
    """Also before that of plain JPEG files, which are not opened by Pillow."""
    for form, mode in (("JPEG", "L"), ("JPEG", "RGB"), ("PNG", "RGB"), ("WEBP", "RGB")):
        data = encode(scene(240, 160).convert(mode), form)
        for read in (decode, decode_grey):
            with pytest.raises(ImageTooLargeError, match="at most 0 MiB to decode, got one of 240x160 pixels"):
                read(data, DecodingLimits(max_memory_bytes=240 * 160))
    comments = b"\xff\xfe\0\2" * 2000
    data = encode(scene(), "JPEG")
    with pytest.raises(ImageTooLargeError, match="at most 1000 segments"):
        decode_grey(data[:2] + comments + data[2:])
