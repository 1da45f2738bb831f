"""Requests that the benchmarks send, made from photographs of one face each."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from mien.model.faces.detection import Detector
from mien.model.faces.reader import FaceReader

CLASSIFY_CROP: Final = "/classify?already_cropped=true"

CROPS_PX: Final = (48, 96, 160, 224)
"""Sides of the crops, in turn."""

PORTRAIT_PX: Final = 1350

LARGE_SIZE: Final = (3000, 4000)
"""Width and height of a portrait of 12 megapixels."""

CLIP_FRAMES: Final = 50

GROUP_SIZE: Final = (4000, 3000)
GROUP_GRID: Final = (8, 5)
GROUP_FACES_PX: Final = (30, 80)
"""Width of the narrowest and the widest face of a group photograph."""

_BACKGROUND: Final = (90, 120, 150)


class Photographs:
    """Photographs of one face each, as files of other sizes.

    Attributes:
        count: of the photographs.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Open photographs, and find their faces."""
        reader = FaceReader(Detector())
        self._pictures = [Image.open(path).convert("RGB") for path in paths]
        self._boxes = [reader.crop_faces(np.asarray(picture))[0].box for picture in self._pictures]
        self.count = len(paths)

    def crops(self) -> list[bytes]:
        """The faces alone, of 48 to 224 pixels."""
        files = []
        for number, (picture, box) in enumerate(zip(self._pictures, self._boxes, strict=True)):
            x, y, width, height = map(int, box)
            side_px = CROPS_PX[number % len(CROPS_PX)]
            files.append(_jpeg(picture.crop((x, y, x + width, y + height)).resize((side_px, side_px))))
        return files

    def small(self) -> list[bytes]:
        """640x480 with one face."""
        return [_jpeg(_placed(picture, (640, 480))) for picture in self._pictures]

    def portraits(self, side_px: int = PORTRAIT_PX) -> list[bytes]:
        """Square, of 1350x1350 unless another side is given."""
        return [_jpeg(_placed(picture, (side_px, side_px))) for picture in self._pictures]

    def large(self) -> list[bytes]:
        """3000x4000, of 12 megapixels."""
        return [_jpeg(_placed(picture, LARGE_SIZE)) for picture in self._pictures]

    def group(self, seed: int = 0) -> bytes:
        """4000x3000 with 40 faces of 30 to 80 pixels."""
        generator = np.random.default_rng(seed)
        noise = generator.integers(70, 150, (GROUP_SIZE[1] // 8, GROUP_SIZE[0] // 8, 3), dtype=np.uint8)
        group = Image.fromarray(noise).resize(GROUP_SIZE, Image.Resampling.BICUBIC)
        (columns, rows), (width, height) = GROUP_GRID, (GROUP_SIZE[0] // GROUP_GRID[0], GROUP_SIZE[1] // GROUP_GRID[1])
        for number in range(columns * rows):
            picture, box = self._pictures[number % self.count], self._boxes[number % self.count]
            scale = generator.uniform(*GROUP_FACES_PX) / box[2]
            scaled = picture.resize((round(picture.width * scale), round(picture.height * scale)))
            group.paste(scaled, (number % columns * width, number // columns * height))
        return _jpeg(group)

    def clip(self) -> bytes:
        """A video of 640x480 with one face that moves, ``CLIP_FRAMES`` at 25 a second; needs PyAV."""
        from video_scenes import encode

        placed = np.asarray(_placed(self._pictures[0], (640, 480)))
        shifts = np.rint(12 * np.sin(np.arange(CLIP_FRAMES) / 8)).astype(int).tolist()
        return encode([np.roll(placed, shift, axis=(0, 1)) for shift in shifts])


def _placed(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture, as large as it fits, in the middle of one of another size."""
    scale = min(size[0] / picture.width, size[1] / picture.height)
    scaled = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    placed = Image.new("RGB", size, _BACKGROUND)
    placed.paste(scaled, ((size[0] - scaled.width) // 2, (size[1] - scaled.height) // 2))
    return placed


def _jpeg(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def requests_of(path: str, files: Sequence[bytes]) -> list[bytes]:
    """One request with one image for each file."""
    return [request(path, [("image", file)]) for file in files]


def requests_of_several(path: str, files: Sequence[bytes], images: int) -> list[bytes]:
    """As many requests as files, each with ``images`` of the files and starting with the next one."""
    repeated = [*files] * (images // len(files) + 2)
    return [
        request(path, [("images", file) for file in repeated[start : start + images]]) for start in range(len(files))
    ]


def request(path: str, files: Sequence[tuple[str, bytes]], texts: Mapping[str, str] | None = None) -> bytes:
    """A form with files and texts, as the bytes of a whole HTTP request."""
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="x.jpg"\r\n'.encode()
        + b"Content-Type: image/jpeg\r\n\r\n"
        + file
        + b"\r\n"
        for name, file in files
    ]
    parts += [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in (texts or {}).items()
    ]
    body = b"".join([*parts, b"--b--\r\n"])
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
