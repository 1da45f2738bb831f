"""The process that decodes a video, so that FFmpeg does not run on untrusted files inside the service.

``mien.model.video.decoder`` starts it (``mien.model.sandbox``), and requests one frame after the other. A hostile file
can do little here: memory and CPU time of the process are limited, it cannot write files, and it ends when its parent
does. It needs only the standard library and PyAV.

Standard input has a line of JSON (``DecodeRequest``), the bytes of the video, and then one line for each reply that is
requested. A reply on standard output is a message of ``mien.model.sandbox``.
"""

import io
import json
import math
import sys
import time
from collections.abc import Iterator
from typing import IO, Any, Final, TypedDict

from mien.model.sandbox import limit_resources, write_message

DECODERS: Final = ("h264", "hevc", "vp8", "libvpx", "vp9", "libvpx-vp9", "av1", "libdav1d", "mpeg4", "gif")
"""FFmpeg's decoders that may run, for the videos of browsers, phones and cameras."""

REPLY_EVERY_S: Final = 0.1
"""A reply comes at least this often, so that the caller can do other work in between."""

BASE_MEMORY_BYTES: Final = 768 * 2**20
"""Address space of Python and FFmpeg without a video."""

MAX_FRAMES_IN_MEMORY: Final = 24
"""Frames that a decoder may keep: 16 reference frames, those waiting to be shown, and one as RGB."""

TRANSPARENT: Final = frozenset({"bgra", "rgba", "argb", "abgr", "yuva420p", "pal8", "ya8"})
"""Pixel formats with possible transparency."""


class DecodeRequest(TypedDict):
    """What to decode: the size and format of the file, the rate of frames, and the limits of ``VideoLimits``."""

    bytes: int
    format: str
    fps: float
    max_pixels: int
    max_s: float
    max_frames: int
    max_cpu_s: float


class RefusalError(Exception):
    """A video that is not decoded; ``kind`` is ``broken``, ``unsupported`` or ``too-large``."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def limit_to(request: DecodeRequest) -> None:
    """Limit the resources of this process to what a video may need."""
    memory = BASE_MEMORY_BYTES + 2 * request["bytes"] + 4 * MAX_FRAMES_IN_MEMORY * request["max_pixels"]
    limit_resources(memory_bytes=memory, cpu_s=math.ceil(request["max_cpu_s"]) + 1)


class FrameSampler:
    """Samples the frames of a video at even times.

    Attributes:
        frames: number of frames decoded so far, sampled or not.
        damaged: number of packets that could not be decoded.
        cut: whether the video is longer than the limit.
        last_s: time of the last decoded frame.
    """

    def __init__(self, file: IO[bytes], request: DecodeRequest) -> None:
        """Open a video.

        Raises:
            RefusalError: the file is not a video that is decoded, or exceeds a limit.
        """
        import av

        self._errors = av.error.FFmpegError
        self._fps, self._max_s = request["fps"], request["max_s"]
        self._max_pixels = request["max_pixels"]
        self.frames = self.damaged = 0
        self.cut = False
        self.last_s = 0.0
        self._container: Any
        try:
            self._container = av.open(
                file,
                format=request["format"],
                # It also applies to the decoders that probe the streams.
                options={"max_pixels": str(request["max_pixels"])},
                container_options={"codec_whitelist": ",".join(DECODERS), "advanced_editlist": "0"},
                metadata_errors="replace",
            )
        except (self._errors, ValueError, OSError):
            raise RefusalError("broken", "expected a whole video, got one that is cut off or damaged") from None
        if not self._container.streams.video:
            raise RefusalError("unsupported", "expected a video with pictures, got a file without")
        self._stream = self._container.streams.video[0]
        codec = self._stream.codec_context
        if codec is None or codec.name not in DECODERS:
            name = "an unknown codec" if codec is None else codec.name
            raise RefusalError(
                "unsupported", f"expected H.264, HEVC, VP8, VP9, AV1, MPEG-4 or GIF pictures, got {name}"
            )
        if codec.width * codec.height > self._max_pixels:
            raise RefusalError(
                "too-large", f"expected frames of at most {self._max_pixels} pixels, got {codec.width}x{codec.height}"
            )
        codec.thread_count = 1
        codec.options = {"max_pixels": str(self._max_pixels)}
        stream_s = (self._stream.duration or 0) * float(self._stream.time_base or 0)
        self.duration_s = stream_s or (self._container.duration or 0) / 1_000_000
        if self.duration_s > self._max_s:
            raise RefusalError(
                "too-large", f"expected a video of at most {self._max_s:g} s, got one of {self.duration_s:.1f} s"
            )
        rate = min(self._fps, float(self._stream.average_rate or self._fps))
        if self.duration_s * rate > request["max_frames"] + 1:
            raise RefusalError(
                "too-large",
                f"expected at most {request['max_frames']} frames to look at, got about {self.duration_s * rate:.0f}: "
                f"for {self.duration_s:.1f} s, ask for {request['max_frames'] / self.duration_s:.1f} fps at most",
            )

    def steps(self) -> Iterator[tuple[float, Any] | None]:
        """Decode the video: time and frame of each sampled frame, None for each other frame or part of the file.

        Raises:
            RefusalError: no frame can be decoded.
        """
        due_s = 0.0
        for step in self._timed():
            if step is None:
                yield None
                continue
            frame, time_s = step
            if time_s > self._max_s:
                self.cut = True
                return
            self.last_s = time_s
            self.frames += 1
            if time_s + 1e-6 < due_s:
                yield None
                continue
            due_s = (math.floor((time_s + 1e-6) * self._fps) + 1) / self._fps
            yield time_s, frame
        if not self.frames:
            raise RefusalError("broken", "expected a whole video, got one of which no frame can be decoded")

    def _timed(self) -> Iterator[tuple[Any, float] | None]:
        """Each frame with its time since the first one, which never decreases; None after each part of the file."""
        start_s: float | None = None
        time_s = -1.0
        between_s = 1 / float(self._stream.average_rate or 25)
        for frame in self._decoded():
            if frame is None:
                yield None
                continue
            if frame.pts is None or frame.time_base is None:
                own_s = time_s + between_s if start_s is not None else 0.0
            else:
                stamp_s = float(frame.pts * frame.time_base)
                start_s = stamp_s if start_s is None else start_s
                own_s = stamp_s - start_s
            time_s = max(time_s, own_s, 0.0)
            yield frame, time_s

    def _decoded(self) -> Iterator[Any]:
        """Every frame that can be decoded, and None after each part of the file: there may be many without a frame."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (self._errors, ValueError, OSError):  # the file ends early
                self.damaged += 1
                packet = None
            try:
                for frame in self._stream.decode(packet):
                    if 0 < frame.width * frame.height <= self._max_pixels:
                        yield frame
                    else:
                        self.damaged += 1
            except (self._errors, ValueError):
                self.damaged += 1
            if packet is None or (packet.dts is None and packet.size == 0):
                return
            yield None


class Connection:
    """Replies to the parent process, each on request."""

    def __init__(self, requests: IO[bytes], replies: IO[bytes]) -> None:
        self._requests, self._replies = requests, replies

    def reply(self, header: dict[str, Any], body: bytes | memoryview = b"") -> None:
        """Send a reply and wait for the next request; exit at the end of the requests."""
        write_message(self._replies, header, body)
        if not self._requests.readline():
            sys.exit(0)


def pixels(frame: Any) -> tuple[dict[str, Any], memoryview]:
    """A frame as rows of RGB, or RGBA if its format has transparency."""
    form, channels = ("rgba", 4) if frame.format.name in TRANSPARENT else ("rgb24", 3)
    plain = frame.reformat(format=form)
    plane = plain.planes[0]
    header = {"width": plain.width, "height": plain.height, "stride": plane.line_size, "channels": channels}
    return {**header, "turn": round(frame.rotation)}, memoryview(plane)


def main() -> None:
    """Decode one video."""
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    request: DecodeRequest = json.loads(requests.readline())
    limit_to(request)
    data = requests.read(request["bytes"])
    connection = Connection(requests, replies)
    try:
        import av

        av.logging.set_level(None)
        video = FrameSampler(io.BytesIO(data), request)
        connection.reply({"kind": "opened", "duration_s": video.duration_s})
        began = time.monotonic()
        for step in video.steps():
            if step is not None:
                time_s, frame = step
                header, body = pixels(frame)
                connection.reply({"kind": "frame", "number": video.frames - 1, "time_s": time_s, **header}, body)
            elif time.monotonic() - began > REPLY_EVERY_S:
                connection.reply({"kind": "working"})
            else:
                continue
            began = time.monotonic()
        connection.reply(
            {
                "kind": "end",
                "frames": video.frames,
                "damaged": video.damaged,
                "last_s": video.last_s,
                "cut": video.cut,
            }
        )
    except RefusalError as refusal:
        connection.reply({"kind": refusal.kind, "detail": str(refusal)})
    except MemoryError:
        connection.reply(
            {"kind": "too-large", "detail": "expected a video of ordinary size, got one that takes too much memory"}
        )


if __name__ == "__main__":
    main()
