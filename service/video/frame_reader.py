"""The faces of the frames of one video or stream, which are followed from frame to frame."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import NoFaceError
from mien.model.faces.decoding import decode
from mien.model.faces.heads import is_plain, read_head
from mien.model.faces.reader import Face, whole_face
from mien.model.video.follower import FaceFollower
from mien.model.video.tracker import DETECT_EVERY
from mien.service.inference.engine import Engine
from mien.service.inference.frame_predictions import FramePredictions
from mien.service.inference.reader_pool import ReaderPool

MAX_FOLLOWED_PX: Final = 3840
"""Longest side of a frame whose faces are followed; a larger one is read as a photograph is."""


class FrameReader:
    """Reads the faces of one frame after the other.

    Attributes:
        predictions: of the last frame.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        already_cropped: bool = False,
        max_faces: int | None = None,
        detect_every: int = DETECT_EVERY,
    ) -> None:
        """Start before the first frame.

        Args:
            engine: reads the faces.
            already_cropped: each frame is one face, and nothing is detected.
            max_faces: the largest faces of a frame that are read; None reads all that the engine reads.
            detect_every: frames from one search of the whole frame to the next.
        """
        self._engine = engine
        self._already_cropped = already_cropped
        self._max_faces = max_faces
        self._follower = FaceFollower(engine.pipeline, detect_every=detect_every, max_faces=max_faces)
        self.predictions = FramePredictions()

    def read(self, image: NDArray[np.uint8], time_s: float) -> list[Face]:
        """The faces of the next frame, largest first; there may be none.

        Args:
            image: (h, w, 3) uint8 RGB, upright.
            time_s: of the frame; not before that of the last one.
        """
        if self._already_cropped:
            return [whole_face(image)]
        return self._engine.read_frame(self._follower, image, time_s)

    async def prepare(self, file: bytes, time_s: float, readers: ReaderPool) -> Callable[[], list[Face]]:
        """A function that returns the faces of the next frame, an image file, as ``read`` does.

        The file is decoded by the function where it is plain, else before by another process. A large one is read by
        itself, and its faces are not followed.

        Raises:
            ImageError: the image cannot be used.
        """
        if is_plain(file):
            return lambda: self._read_plain(file, time_s)
        head = read_head(file)
        is_large = head is not None and max(head.width, head.height) > MAX_FOLLOWED_PX
        if not is_large and not self._already_cropped:
            image = await readers.decode(file)
            return lambda: self.read(image, time_s)
        faces: list[Face] = []
        with suppress(NoFaceError):
            faces = await readers.read_faces(file, already_cropped=self._already_cropped, thumbnails=0)
        return lambda: faces[: self._max_faces]

    def _read_plain(self, file: bytes, time_s: float) -> list[Face]:
        engine = self._engine
        if self._already_cropped:
            return engine.read_faces(file, already_cropped=True)
        with engine.metrics.timed("decode"):
            image = decode(file, engine.pipeline.limits)
        return engine.read_frame(self._follower, image, time_s)
