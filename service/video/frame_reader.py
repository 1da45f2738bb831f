"""The faces of the frames of one video or stream, which are followed from frame to frame."""

import numpy as np
from numpy.typing import NDArray

from mien.model.faces.decoding import decode_reduced
from mien.model.faces.reader import MIN_DECODED_PX, Face, whole_face
from mien.model.video.follower import DETECT_EVERY, FaceFollower
from mien.service.inference.engine import Engine
from mien.service.inference.frame_predictions import FramePredictions


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

    def read_file(self, file: bytes, time_s: float) -> list[Face]:
        """The faces of the next frame, an image file, as of ``read``.

        Raises:
            ImageError: the image cannot be used, or is so large that it is read by itself, and has no face.
        """
        engine = self._engine
        if self._already_cropped:
            return engine.read_faces(file, already_cropped=True)
        with engine.metrics.timed("decode"):
            image, factor = decode_reduced(file, engine.pipeline.limits, MIN_DECODED_PX)
        if factor > 1:
            return engine.read_faces(file, already_cropped=False, max_faces=self._max_faces)
        return engine.read_frame(self._follower, image, time_s)
