"""Frames a face crop as the detector frames a face in a photograph.

FER2013's own frames are loose: faces are turned, off the middle and of different sizes. A face of a photograph is cut
out upright by its landmarks, which a network that has only seen whole FER2013 images reads less well.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.model.faces.alignment import crop_face
from mien.model.faces.detection import MIN_SIDE_PX, Detector

DETECTION_PX: Final = MIN_SIDE_PX
"""Side to which a crop is scaled up for the detector: the smallest that it takes as it is."""


def frame_face(crop: NDArray[np.uint8], detector: Detector) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
    """Find the largest face in a crop and cut it out by its landmarks.

    Args:
        crop: (h, w) uint8 grey.
        detector: finds the landmarks.

    Returns:
        (48, 48) uint8 grey, and the (5, 2) landmarks in a square of ``DETECTION_PX``; None if no face is found.
    """
    side = (DETECTION_PX, DETECTION_PX)
    image = np.asarray(Image.fromarray(crop).convert("RGB").resize(side, Image.Resampling.BICUBIC), dtype=np.uint8)
    found = detector.detect(image)
    if not found:
        return None
    landmarks = max(found, key=lambda each: each.box[2] * each.box[3]).landmarks
    return crop_face(image, landmarks), landmarks
