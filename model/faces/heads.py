"""What the first bytes of an image file say of the work on it, read before any decoder is.

A decoder takes memory by the size that a file declares, and time by what it has of parts: scans, strips, tiles. Both
are known from the head. Formats: JPEG (ITU-T T.81, annex B), PNG (W3C, second edition), WebP (RFC 9649), GIF89a, BMP,
TIFF 6.0 and BigTIFF, and AVIF (ISO/IEC 14496-12 and 23008-12).
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from mien.model.errors import BrokenImageError, ImageTooLargeError

MAX_SIDE_PX: Final = 65_535
"""The longest side of an image, as of JPEG: a decoder needs memory for each row, however short."""

MAX_SCANS: Final = 100
"""Most scans of a JPEG: each is work on the whole image. Encoders write about ten."""

MAX_PARTS: Final = 65_535
"""Most strips or tiles of a TIFF."""

MAX_SEGMENTS: Final = 1_000
"""Most segments of a JPEG before its first scan, and entries of a TIFF's directory."""

PLAIN_PX: Final = 640 * 480
PLAIN_BYTES: Final = 2**20
PLAIN_CHUNKS: Final = 32

_PLAIN_PNG: Final = frozenset(
    (b"IHDR", b"PLTE", b"tRNS", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"tIME", b"IDAT", b"IEND")
)

_OUT: Final = 3
"""Bytes of a pixel of the array that is made of Pillow's picture (``mien.model.faces.pixels``)."""

_BANDS_BYTES: Final = 16 * 2**20
"""Memory for the bands in which that is done."""


@dataclass(frozen=True)
class Head:
    """The head of an image file.

    Attributes:
        width: of the image, in pixels.
        height: of the image, in pixels.
        pixel_bytes: most bytes of memory for each pixel, ours and those of the decoder; those of WebP and AVIF are
            measured, with a margin.
        fixed_bytes: memory that does not depend on the number of pixels.
        is_simple: nothing in the file can make decoding take longer than its size and pixels do.
    """

    width: int
    height: int
    pixel_bytes: float
    fixed_bytes: int = 0
    is_simple: bool = False

    @property
    def memory_bytes(self) -> int:
        """Most memory for decoding."""
        pixels = self.width * self.height
        return int(pixels * self.pixel_bytes) + self.fixed_bytes + min(_BANDS_BYTES, 16 * pixels)


def check_head(data: bytes, max_pixels: int, max_memory_bytes: int) -> Head | None:
    """Read the head of an image file, and check that it may be decoded.

    Returns:
        The head; None if the file is in none of the formats.

    Raises:
        ImageTooLargeError: the image has a longer side, more pixels or more parts, or takes more memory.
        BrokenImageError: the head is cut off or damaged, or the image has no pixels.
    """
    head = read_head(data)
    if head is None:
        return None
    width, height = head.width, head.height
    if width <= 0 or height <= 0:
        raise BrokenImageError(f"expected an image with pixels, got {width}x{height}")
    if width * height > max_pixels:
        raise ImageTooLargeError(f"expected an image of at most {max_pixels} pixels, got {width}x{height}")
    if max(width, height) > MAX_SIDE_PX:
        raise ImageTooLargeError(f"expected sides of at most {MAX_SIDE_PX} pixels, got {width}x{height}")
    if head.memory_bytes + len(data) > max_memory_bytes:
        raise ImageTooLargeError(
            f"expected an image that takes at most {max_memory_bytes >> 20} MiB to decode, got one of "
            f"{width}x{height} pixels that takes {(head.memory_bytes + len(data)) >> 20} MiB"
        )
    return head


def is_plain(data: bytes) -> bool:
    """Whether a file is small and simple, or none at all: decoding takes a few milliseconds and megabytes at most."""
    if len(data) > PLAIN_BYTES:
        return False
    try:
        head = read_head(data)
    except (BrokenImageError, ImageTooLargeError):
        return True  # and is refused at once
    return head is None or (head.is_simple and head.width * head.height <= PLAIN_PX)


def read_head(data: bytes) -> Head | None:
    """The head of an image file; None if the file is in none of the formats.

    Raises:
        ImageTooLargeError: the image has too many parts.
        BrokenImageError: the head is cut off or damaged.
    """
    for at, signature, read in _READERS:
        if data.startswith(signature, at):
            try:
                return read(data)
            except (struct.error, IndexError, OverflowError):
                raise BrokenImageError("expected a whole image, got one that is cut off or damaged") from None
    return None


def _jpeg(data: bytes) -> Head:
    at, header_bytes, frame = 2, 0, None
    for _ in range(MAX_SEGMENTS):
        while data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
            at = _next_marker(data, at)
        marker = data[at + 1]
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # without a length
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = marker, at
        elif marker == 0xDA:
            break
        elif marker not in (0xC4, 0xDB, 0xDD):
            header_bytes += length
        at += 2 + length
    else:
        raise ImageTooLargeError(f"expected a JPEG of at most {MAX_SEGMENTS} segments before its first scan, got more")
    if frame is None:
        raise BrokenImageError("expected a whole image, got one that is cut off or damaged")
    kind, start = frame
    height, width, count = struct.unpack_from(">HHB", data, start + 5)
    in_scan = data[at + 4]
    in_memory = 1 if count == 1 else 4
    if kind in (0xC0, 0xC1) and in_scan == count:
        return Head(width, height, in_memory + _OUT, is_simple=header_bytes <= 2**14)
    if (scans := data.count(b"\xff\xda", at)) > MAX_SCANS:
        raise ImageTooLargeError(f"expected a JPEG of at most {MAX_SCANS} scans, got {scans}")
    sampling = [data[start + 11 + 3 * component] for component in range(count)]
    cells = [(each >> 4) * (each & 15) for each in sampling]
    coefficients = 2 * sum(cells) / max([1, *cells])  # of all scans, two bytes each
    return Head(width, height, in_memory + max(_OUT, coefficients))


def _next_marker(data: bytes, at: int) -> int:
    at = data.find(b"\xff", at + 1)
    if at < 0:
        raise IndexError
    return at


def _png(data: bytes) -> Head:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    grey = colour in (0, 3)
    in_memory = (4 if depth == 16 else 1) if grey else 4
    return Head(width, height, in_memory + _OUT, is_simple=_is_simple_png(data))


def _is_simple_png(data: bytes) -> bool:
    at = 8
    for _ in range(PLAIN_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind not in _PLAIN_PNG:
            return False
        if kind == b"IEND":
            return True
        at += 12 + length
        if at + 8 > len(data):
            return True  # cut off
    return False


def _webp(data: bytes) -> Head:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        sides = struct.unpack_from("<BBBBBB", data, 24)
        width, height = (int.from_bytes(sides[at : at + 3], "little") + 1 for at in (0, 3))
    return Head(width, height, 17, is_simple=kind == b"VP8 ")


def _gif(data: bytes) -> Head:
    width, height = struct.unpack_from("<HH", data, 6)
    return Head(width, height, 2 + _OUT)


def _bmp(data: bytes) -> Head:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    in_memory = {8: 1, 4: 1, 1: 1}.get(bits, 4)
    copies = 2 if compression in (1, 2) else 0  # runs, which Pillow decodes in Python
    return Head(width, abs(height), in_memory + copies + _OUT, is_simple=compression == 0)


_TIFF_TYPES: Final = {3: "H", 4: "I", 16: "Q"}


def _tiff(data: bytes) -> Head:
    order = "<" if data[:2] == b"II" else ">"
    is_big = 43 in data[2:4]
    number, count_type, first = ("Q", "Q", 8) if is_big else ("I", "H", 4)
    (at,) = struct.unpack_from(order + number, data, first)
    (count,) = struct.unpack_from(order + count_type, data, at)
    if count > MAX_SEGMENTS:
        raise ImageTooLargeError(f"expected a TIFF of at most {MAX_SEGMENTS} entries, got {count}")
    at += struct.calcsize(count_type)
    entry = struct.Struct(order + "HH" + number)
    value_bytes = struct.calcsize(number)
    tags: dict[int, int] = {}
    bits = 8
    for _ in range(count):
        tag, kind, values = entry.unpack_from(data, at)
        where = at + entry.size
        at = where + value_bytes
        if tag in (273, 279, 324, 325) and values > MAX_PARTS:
            raise ImageTooLargeError(f"expected a TIFF of at most {MAX_PARTS} strips or tiles, got {values}")
        if kind not in _TIFF_TYPES:
            continue
        form = order + _TIFF_TYPES[kind]
        if struct.calcsize(form) * values > value_bytes:
            (where,) = struct.unpack_from(order + number, data, where)
        if tag in (256, 257, 258, 277, 322, 323):
            (tags[tag],) = struct.unpack_from(form, data, where)
    width, height = tags.get(256, 0), tags.get(257, 0)
    raw = tags.get(277, 1) * max(1, tags.get(258, bits) / 8)
    tile_bytes = int(tags.get(322, 0) * tags.get(323, 0) * raw)
    strip = 0 if tile_bytes else raw  # a strip may be the whole image
    return Head(width, height, 4 + max(_OUT, strip), tile_bytes)


def _avif(data: bytes) -> Head:
    sides = [
        struct.unpack_from(">II", data, at + 4)
        for at, _ in _boxes(data, (b"meta", b"iprp", b"ipco", b"ispe"), 0, len(data))
    ]
    if not sides:
        raise BrokenImageError("expected a whole image, got one that is cut off or damaged")
    width, height = max(sides, key=lambda side: side[0] * side[1])
    return Head(width, height, 14)


def _boxes(data: bytes, path: tuple[bytes, ...], start: int, end: int) -> Iterator[tuple[int, int]]:
    """The contents, from and to, of the boxes at a path of an ISO base media file."""
    for _ in range(MAX_SEGMENTS):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, content)
            content += 8
        stop = end if size == 0 else min(end, start + size)
        if stop < content:
            return
        if kind == path[0]:
            if len(path) == 1:
                yield content, stop
            else:
                yield from _boxes(data, path[1:], content + 4 * (kind == b"meta"), stop)
        start = stop


_READERS: Final[tuple[tuple[int, bytes, Callable[[bytes], Head]], ...]] = (
    (0, b"\xff\xd8\xff", _jpeg),
    (0, b"\x89PNG\r\n\x1a\n", _png),
    (8, b"WEBP", _webp),
    (0, b"GIF8", _gif),
    (0, b"BM", _bmp),
    (0, b"II*\0", _tiff),
    (0, b"MM\0*", _tiff),
    (0, b"II+\0", _tiff),
    (0, b"MM\0+", _tiff),
    (4, b"ftypavif", _avif),
    (4, b"ftypavis", _avif),
)
