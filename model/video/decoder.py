"""Decodes video files to upright RGB frames, within limits.

FFmpeg runs in a separate process (``mien.model.video.worker``), which is killed if a hostile file makes it fail, hang
or grow. It works only while a frame is requested, so that the caller decides when it takes time from a core. Nothing is
written to disk or logged.
"""

import importlib.util
import json
import select
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, PositiveInt

from mien.model.errors import (
    BrokenVideoError,
    NoVideoDecoderError,
    UnsupportedVideoError,
    VideoError,
    VideoTooLargeError,
)
from mien.model.sandbox import start_program
from mien.model.video.worker import DecodeRequest

FORMATS: Final = ("MP4", "WebM", "GIF")
"""The formats that are decoded; also Matroska, of which WebM is a part, and QuickTime, from which MP4 comes."""

_SIGNATURES: Final = ((4, b"ftyp", "mp4"), (0, b"\x1a\x45\xdf\xa3", "matroska"), (0, b"GIF8", "gif"))

_PICTURES: Final = (b"avif", b"avis", b"heic", b"mif1")
"""Brands of files like MP4 that are images."""

REPLY_TIMEOUT_S: Final = 10.0
"""A decoder without a reply for this long hangs: it should reply every tenth of a second."""

_REFUSALS: Final[dict[str, type[VideoError]]] = {
    "broken": BrokenVideoError,
    "unsupported": UnsupportedVideoError,
    "too-large": VideoTooLargeError,
}


class VideoLimits(BaseModel, frozen=True):
    """Limits of the size of a video, and of the work on it."""

    max_pixels: PositiveInt = Field(4096 * 2304, description="Largest frame, width times height.")
    max_s: float = Field(60.0, gt=0, description="Longest video, seconds.")
    max_frames: PositiveInt = Field(600, description="Most frames that are returned.")
    max_cpu_s: float = Field(120.0, gt=0, description="Longest CPU time for one video, seconds.")


DEFAULT_LIMITS: Final = VideoLimits()


@dataclass(frozen=True)
class VideoFrame:
    """A frame of a video.

    Attributes:
        number: among all frames of the video, from 0.
        time_s: since the first frame.
        image: (h, w, 3) uint8 RGB, upright.
    """

    number: int
    time_s: float
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class VideoEnd:
    """The end of a video, with figures of the whole.

    Attributes:
        frames: number of all decoded frames.
        damaged: number of parts of the file that could not be decoded.
        last_s: time of the last frame.
        cut: whether the video is longer than the limit, and the rest was not decoded.
    """

    frames: int
    damaged: int
    last_s: float
    cut: bool


def can_decode_videos() -> bool:
    """Whether the extra ``video`` is installed."""
    return importlib.util.find_spec("av") is not None


class Video:
    """A video that is being decoded.

    Its methods may be called from any thread, one at a time; ``kill`` at any time.
    """

    def __init__(self, data: bytes, fps: float, limits: VideoLimits = DEFAULT_LIMITS) -> None:
        """Start decoding.

        Args:
            data: the whole file.
            fps: frames to return for each second; of a video with fewer, all are returned.
            limits: of the video.

        Raises:
            NoVideoDecoderError: the extra ``video`` is not installed.
            UnsupportedVideoError: the bytes are not a video in one of ``FORMATS``.
        """
        if not can_decode_videos():
            raise NoVideoDecoderError("videos need the extra 'video' (PyAV), which is not installed here")
        form = _format_of(data)
        if form is None:
            raise UnsupportedVideoError(
                f"expected a video ({', '.join(FORMATS)}), got {len(data)} bytes of something else"
            )
        self._request = DecodeRequest(bytes=len(data), format=form, fps=fps, **limits.model_dump())  # type: ignore[typeddict-item]
        self._data: bytes | None = data
        self._lock = threading.Lock()
        self._process = start_program("mien.model.video.worker", stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self) -> VideoFrame | VideoEnd | None:
        """Continue decoding, for about a tenth of a second at most.

        Returns:
            The next frame, the end, or None if there is no frame yet.

        Raises:
            VideoError: the video cannot be decoded, or exceeds a limit.
        """
        with self._lock:
            header, body = self._ask()
        match header["kind"]:
            case "opened" | "working":
                return None
            case "frame":
                return VideoFrame(header["number"], header["time_s"], _upright(header, body))
            case "end":
                return VideoEnd(header["frames"], header["damaged"], header["last_s"], header["cut"])
            case refusal:
                raise _REFUSALS[refusal](header["detail"])

    def kill(self) -> None:
        """Kill the decoder; a thread that waits in ``step`` gets an error."""
        self._process.kill()

    def close(self) -> None:
        """Kill the decoder and release its resources."""
        self.kill()
        with self._lock:
            self._data = None
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()

    def _ask(self) -> tuple[dict[str, Any], memoryview]:
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        try:
            if self._data is not None:
                self._write(json.dumps(self._request).encode() + b"\n")
                self._write(self._data)
                self._data = None
            else:
                self._write(b"\n")
            deadline = time.monotonic() + REPLY_TIMEOUT_S
            size = int.from_bytes(self._read(4, deadline), "big")
            header: dict[str, Any] = json.loads(bytes(self._read(size, deadline)))
            return header, self._read(header["bytes"], deadline)
        except (OSError, EOFError):
            self.kill()
            raise BrokenVideoError("expected a whole video, got one on which the decoder fails") from None

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._process.stdin.write(view) or 0 :]  # type: ignore[union-attr]

    def _read(self, count: int, deadline: float) -> memoryview:
        """Read ``count`` bytes of a reply."""
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101
        view, at = np.empty(count, np.uint8).data, 0
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN)
        while at < count:
            left_ms = (deadline - time.monotonic()) * 1000
            if left_ms <= 0 or not waiting.poll(left_ms):
                raise EOFError
            read = pipe.readinto(view[at:])  # type: ignore[attr-defined]
            if not read:
                raise EOFError
            at += read
        return view


def _format_of(data: bytes) -> str | None:
    """FFmpeg's name for the format of a file, by its first bytes."""
    if data[4:8] == b"ftyp" and data[8:12] in _PICTURES:
        return None
    return next((name for at, signature, name in _SIGNATURES if data.startswith(signature, at)), None)


def _upright(header: dict[str, Any], body: memoryview) -> NDArray[np.uint8]:
    """(h, w, 3) the pixels of a frame: transparent parts on white, rotated as the file says."""
    width, height, channels = header["width"], header["height"], header["channels"]
    rows = np.frombuffer(body, np.uint8).reshape(height, header["stride"])
    image = rows[:, : width * channels].reshape(height, width, channels)
    if channels == 4:
        image = _on_white(image)
    turns = round(header["turn"] / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns))


def _on_white(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    opacity = image[:, :, 3:]
    if opacity.min(initial=255) == 255:
        return image[:, :, :3]
    mixed = image[:, :, :3].astype(np.uint16) * opacity + (255 - opacity).astype(np.uint16) * 255
    return (mixed // 255).astype(np.uint8)
