"""The faces of an image, as the network takes them."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mien.model.faces.alignment import crop_face, crop_whole
from mien.model.faces.detection import Detector


@dataclass(frozen=True)
class Face:
    """A face that was cut out of an image.

    Attributes:
        box: x, y, width and height in pixels of the upright image, clipped to the image.
        detection: the detector's score from 0 to 1; None for an image that was a face crop already.
        crop: (48, 48) uint8 grey, framed as a FER2013 face.
    """

    box: tuple[float, float, float, float]
    detection: float | None
    crop: NDArray[np.uint8]

    def grown(self, factor: int) -> Self:
        """The same face in an image that is ``factor`` times as wide and high."""
        if factor == 1:
            return self
        x, y, width, height = (side * factor for side in self.box)
        return replace(self, box=(x, y, width, height))


class FaceFinder:
    """Finds the faces of an image and cuts them out.

    Thread-safe: one finder serves all threads of a process.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    def find(self, image: NDArray[np.uint8], max_faces: int | None = None) -> list[Face]:
        """Find the faces of a photograph.

        Args:
            image: (h, w, 3) uint8 RGB, upright.
            max_faces: the largest faces that are cut out; the rest are left out. None takes all.

        Returns:
            The faces, largest box first; empty when there is none.
        """
        height, width = image.shape[:2]
        boxed = [(_clipped(detection.box, width, height), detection) for detection in self.detector.detect(image)]
        inside = [(box, detection) for box, detection in boxed if box[2] > 0 and box[3] > 0]
        inside.sort(key=lambda pair: pair[0][2] * pair[0][3], reverse=True)
        return [
            Face(box, detection.score, crop_face(image, detection.landmarks)) for box, detection in inside[:max_faces]
        ]

    def whole(self, image: NDArray[np.uint8]) -> Face:
        """Take an image that is one face already, such as one of FER2013; nothing is detected.

        Args:
            image: (h, w, 3) uint8 RGB, or (h, w) grey, upright.

        Returns:
            The face; its box is the whole image, its crop the centred square.
        """
        height, width = image.shape[:2]
        return Face((0.0, 0.0, float(width), float(height)), None, crop_whole(image))


def _clipped(box: tuple[float, float, float, float], width: int, height: int) -> tuple[float, float, float, float]:
    x, y, box_width, box_height = box
    left, top = max(0.0, x), max(0.0, y)
    return (left, top, min(float(width), x + box_width) - left, min(float(height), y + box_height) - top)
