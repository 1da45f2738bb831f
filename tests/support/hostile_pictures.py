"""Picture files of a few bytes to megabytes that ask a decoder for more than its share."""

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image


def many_scans(scans: int = 30_000) -> bytes:
    """A progressive JPEG of 48 megapixels with so many scans, each over all of it."""
    width, height = 1736, 27784
    blocks = (width // 8) * (height // 8)
    head = b"\xff\xd8\xff\xdb" + struct.pack(">HB", 67, 0) + b"\1" * 64
    head += b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    head += b"\xff\xc4" + struct.pack(">HB", 20, 0) + bytes([1] + [0] * 15) + b"\0"
    head += b"\xff\xc4" + struct.pack(">HB", 21, 16) + bytes([1, 1] + [0] * 14) + b"\xe0\0"
    head += b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 0, 0) + b"\0" * (blocks // 8) + b"\x7f"
    bits = ("0" + format(32767 - 16384, "014b")) * (blocks // 32767)
    bits += "1" * (-len(bits) % 8)
    run = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    return head + (b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 1, 63, 0) + run) * scans + b"\xff\xd9"


def tiff(entries: list[tuple[int, int, int, int]], content: bytes = b"") -> bytes:
    """A TIFF of one directory: tag, type, number of values, value or place of each entry; ``content`` follows it."""
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4) + content


def huge_tile(side: int = 46_000) -> bytes:
    """A TIFF of 64x64 pixels with one tile of a gigapixel or two."""
    content = zlib.compress(bytes(1000))
    tags = {256: 64, 257: 64, 322: side, 323: side, 324: 134, 325: len(content)}
    shorts = {258: 8, 259: 8, 262: 1, 277: 1}
    entries = [(tag, 4, 1, value) for tag, value in tags.items()] + [
        (tag, 3, 1, value) for tag, value in shorts.items()
    ]
    return tiff(sorted(entries), content)


def many_strips(strips: int = 1_000_000) -> bytes:
    """A TIFF of a million rows, each a strip."""
    at = 10 + 12 * 8 + 4
    entries = [(256, 4, 1, 8), (257, 4, 1, strips), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, strips, at), (278, 4, 1, 1), (279, 4, strips, at)]
    return tiff(entries, struct.pack("<I", at) * strips)


def png(width: int, height: int, pixels: bytes, *, depth: int = 8, colour: int = 6, extra: bytes = b"") -> bytes:
    """A PNG of deflated ``pixels``, with ``extra`` chunks before them."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def thin(height: int = 50_000_000) -> bytes:
    """A PNG of one column: a decoder needs memory for each row."""
    deflate = zlib.compressobj(1)
    pixels = b"".join(deflate.compress(bytes(5 * height // 50)) for _ in range(50)) + deflate.flush()
    return png(1, height, pixels)


def text_chunks() -> bytes:
    """A small PNG with thousands of compressed texts of a megabyte each."""
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20 - 10), 9))
    return png(16, 16, zlib.compress(bytes(65 * 16)), extra=text * 1000)


def animated_webp(width: int = 16_384, height: int = 16_384) -> bytes:
    """A WebP animation of one frame of 16x16 pixels on a large canvas."""
    buffer = BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "WEBP", lossless=True)
    frame = buffer.getvalue()[12:]

    def box(kind: bytes, content: bytes) -> bytes:
        return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)

    def side(number: int) -> bytes:
        return number.to_bytes(3, "little")

    canvas = bytes([0x02, 0, 0, 0]) + side(width - 1) + side(height - 1)
    position = side(0) * 2 + side(15) * 2 + side(100) + b"\0"
    content = b"WEBP" + box(b"VP8X", canvas) + box(b"ANIM", bytes(6)) + box(b"ANMF", position + frame)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def lying_avif(side: int = 7000) -> bytes:
    """An AVIF of 49 megapixels whose boxes say 64x64."""
    buffer = BytesIO()
    Image.new("RGB", (side, side), (90, 90, 90)).save(buffer, "AVIF", speed=10, quality=10)
    return buffer.getvalue().replace(struct.pack(">II", side, side), struct.pack(">II", 64, 64))


def run_length_bmp(side: int = 7000) -> bytes:
    """A BMP of single-pixel runs, which Pillow decodes in Python."""
    runs = b"\1\0" * 9_000_000
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(runs), 0, 0, 256, 0)
    palette = bytes(1024)
    at = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", at + len(runs), 0, 0, at) + head + palette + runs


def gif_screen(width: int = 65_535, height: int = 65_535) -> bytes:
    """A GIF of 16x16 pixels on a logical screen of four gigapixels."""
    buffer = BytesIO()
    Image.new("P", (16, 16)).save(buffer, "GIF")
    data = bytearray(buffer.getvalue())
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def many_segments(count: int = 5_000_000) -> bytes:
    """A small JPEG behind millions of empty comments, which Pillow reads in Python."""
    return jpeg_with(b"\xff\xfe\0\2" * count)


def exif_bomb() -> bytes:
    """A small JPEG with EXIF whose thousands of entries each have the same 60 kB as their value."""
    count = 5000
    entries = b"".join(struct.pack("<HHII", 0x9000 + row % 4096, 7, 60_000, 8) for row in range(count))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, count) + entries + bytes(4)
    return jpeg_with(b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif)


def jpeg_with(segments: bytes, side: int = 64, mode: str = "RGB", **options: bool) -> bytes:
    """A JPEG with ``segments`` after its first marker."""
    buffer = BytesIO()
    Image.new(mode, (side, side), 128 if mode == "L" else None or 0).save(buffer, "JPEG", **options)
    data = buffer.getvalue()
    return data[:2] + segments + data[2:]


def grey_16_bit(side: int = 7000) -> bytes:
    """A PNG of 49 megapixels with 16-bit grey levels, within the limits."""
    rows = zlib.compress(bytes(side * (2 * side + 1)), 1)
    return png(side, side, rows, depth=16, colour=0)


def noise(side: int, seed: int = 0) -> Image.Image:
    """A picture that compresses badly."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))


HOSTILE = {
    "scans": many_scans,
    "tile": huge_tile,
    "strips": many_strips,
    "thin": thin,
    "texts": text_chunks,
    "webp": animated_webp,
    "avif": lying_avif,
    "runs": run_length_bmp,
    "screen": gif_screen,
    "segments": many_segments,
    "exif": exif_bomb,
}
"""What each makes, under a short name."""
