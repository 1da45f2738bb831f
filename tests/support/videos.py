"""Videos of drawn faces, encoded in memory."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from io import BytesIO
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.cartoon import cartoon

CODECS: Final = {"mp4": ("libx264", "yuv420p"), "webm": ("libvpx-vp9", "yuv420p"), "gif": ("gif", "rgb8")}
"""Codec and pixel format for each container."""


def encode_video(
    frames: Iterable[NDArray[np.uint8]], form: str = "mp4", rate: int = 10, turn: int = 0, codec: str | None = None
) -> bytes:
    """A video file of (h, w, 3) uint8 RGB frames; skips the test where there is no PyAV."""
    av: Any = pytest.importorskip("av", reason="needs the extra 'video'")
    av.logging.set_level(None)
    buffer = BytesIO()
    with av.open(buffer, "w", format=form) as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream(codec or CODECS[form][0], rate=Fraction(rate))
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = CODECS[form][1]
                if turn:
                    stream.set_display_rotation(turn)
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        assert stream is not None
        for packet in stream.encode(None):
            container.mux(packet)
    return buffer.getvalue()


def scene(
    middles: Sequence[tuple[int, int]], side: int = 160, width: int = 640, height: int = 240
) -> NDArray[np.uint8]:
    """A frame with a drawn face around each of these points."""
    frame = np.full((height, width, 3), (90, 120, 150), np.uint8)
    face = cartoon(side)
    for x, y in middles:
        left, top = x - side // 2, y - side // 2
        from_x, from_y = max(0, -left), max(0, -top)
        to_x, to_y = min(side, width - left), min(side, height - top)
        if to_x > from_x and to_y > from_y:
            frame[top + from_y : top + to_y, left + from_x : left + to_x] = face[from_y:to_y, from_x:to_x]
    return frame
