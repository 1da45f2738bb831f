"""From the bytes of an image file to its faces: decode, detect, align.

The service, the commands, imports and evaluations all read images here, so that the same file gives the same crops
everywhere.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import NoFaceError
from mien.model.faces.alignment import crop_face, crop_whole, share_outside
from mien.model.faces.box import Box, clip
from mien.model.faces.decoding import DEFAULT_LIMITS, DecodingLimits, decode, decode_grey, decode_reduced
from mien.model.faces.detection import Detection, Detector
from mien.model.faces.thumbnail import thumbnail

MIN_DECODED_PX: Final = 1920
"""A JPEG is decoded at a fraction of its size as long as its longer side is at least this long.

This is one and a half times the detector's first level, so that each pixel there is still a mean of several.
"""

MIN_FACE_PX: Final = 60
"""If a face is narrower than this in the reduced photograph, or there is none, the photograph is decoded at full size.

In photographs of 12 and 24 megapixels, the reduction moved embeddings of larger faces by 0.02 to 0.05 (medians; at most
0.19), those of smaller faces by up to 0.9.
"""

Stage = Literal["decode", "detect"]


@dataclass(frozen=True)
class Face:
    """A face that was cut out of an image.

    Attributes:
        box: x, y, width and height in pixels of the upright image, clipped to the image.
        detection: the detector's score from 0 to 1; None for an image that was a face crop already.
        crop: (48, 48) uint8 grey, framed as a FER2013 face.
        landmarks: (5, 2) float32, x and y in pixels of the upright image, in the order of ``Detection``; None for an
            image that was a face crop already.
        outside: the share of the crop that lies outside the image, from 0 to 1; there, the image's edge is repeated.
        thumbnail: an image file of it in colour; None unless it was asked for.
    """

    box: Box
    detection: float | None
    crop: NDArray[np.uint8]
    landmarks: NDArray[np.float32] | None = None
    outside: float = 0.0
    thumbnail: bytes | None = None


class FaceReader:
    """Reads the faces of images.

    Thread-safe: one reader serves all threads of a process.
    """

    def __init__(
        self, detector: Detector, limits: DecodingLimits = DEFAULT_LIMITS, max_faces: int | None = None
    ) -> None:
        """Put the parts together.

        Args:
            detector: finds the faces.
            limits: of an image.
            max_faces: the largest faces of an image that are read, the rest are left out; None reads all.
        """
        self.detector = detector
        self.limits = limits
        self.max_faces = max_faces

    def read_faces(
        self,
        data: bytes | NDArray[np.uint8],
        *,
        already_cropped: bool = False,
        thumbnails: int = 0,
        timed: Callable[[Stage], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> list[Face]:
        """Decode an image file, and find and cut out its faces.

        A large JPEG photograph is decoded at a fraction of its size, unless one of its faces would then be too small.
        Of an image that is one face already, only the grey levels are decoded.

        Args:
            data: the whole file; or (h, w, 3) uint8 RGB, pixels that are decoded and upright already.
            already_cropped: the whole image is one face, and nothing is detected.
            thumbnails: how many faces get a thumbnail, the largest first.
            timed: entered around each stage.

        Returns:
            The faces, largest first: at least one and at most ``max_faces``. Boxes are in pixels of the file's picture.

        Raises:
            ImageError: the image cannot be decoded, or has no face.
        """
        if already_cropped:
            with timed("decode"):
                if not isinstance(data, bytes):
                    return [_with_thumbnail(whole_face(data), data) if thumbnails else whole_face(data)]
                face = whole_face(decode_grey(data, self.limits))
                return [_with_thumbnail(face, decode(data, self.limits)) if thumbnails else face]
        with timed("decode"):
            image, factor = decode_reduced(data, self.limits, MIN_DECODED_PX) if isinstance(data, bytes) else (data, 1)
        with timed("detect"):
            faces = self.crop_faces(image)
        reduced_too_far = not faces or min(face.box[2] for face in faces) < MIN_FACE_PX
        if factor > 1 and reduced_too_far and isinstance(data, bytes):
            factor = 1
            with timed("decode"):
                image = decode(data, self.limits)
            with timed("detect"):
                faces = self.crop_faces(image)
        if not faces:
            raise NoFaceError(
                f"no face was found in the image of {image.shape[1]}x{image.shape[0]} pixels; "
                "if the image is a face crop, say already_cropped"
            )
        faces[:thumbnails] = [_with_thumbnail(face, image) for face in faces[:thumbnails]]
        return faces if factor == 1 else [_enlarged(face, factor) for face in faces]

    def crop_faces(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find the faces of decoded pixels, such as a frame of a video, and cut them out.

        Args:
            image: (h, w, 3) uint8 RGB, upright.

        Returns:
            At most ``max_faces`` faces, largest box first; empty when there is none.
        """
        height, width = image.shape[:2]
        boxed = [(clip(detection.box, width, height), detection) for detection in self.detector.detect(image)]
        inside = [(box, detection) for box, detection in boxed if box[2] > 0 and box[3] > 0]
        inside.sort(key=lambda pair: pair[0][2] * pair[0][3], reverse=True)
        return [cut_out(image, detection) for _, detection in inside[: self.max_faces]]


def cut_out(image: NDArray[np.uint8], detection: Detection) -> Face:
    """Cut a detected face, whose box is at least partly inside, out of an image of (h, w, 3) uint8 RGB."""
    height, width = image.shape[:2]
    return Face(
        clip(detection.box, width, height),
        detection.score,
        crop_face(image, detection.landmarks),
        detection.landmarks,
        share_outside(detection.landmarks, width, height),
    )


def whole_face(image: NDArray[np.uint8]) -> Face:
    """The face of an image that is one face already, such as one of FER2013; nothing is detected.

    Args:
        image: (h, w, 3) uint8 RGB, or (h, w) grey, upright.

    Returns:
        The face; its box is the whole image, its crop the centred square.
    """
    height, width = image.shape[:2]
    return Face((0.0, 0.0, float(width), float(height)), None, crop_whole(image))


def _with_thumbnail(face: Face, image: NDArray[np.uint8]) -> Face:
    return replace(face, thumbnail=thumbnail(image, face.landmarks))


def _enlarged(face: Face, factor: int) -> Face:
    """The same face in an image that is ``factor`` times as wide and high."""
    x, y, width, height = face.box
    landmarks = None if face.landmarks is None else face.landmarks * factor
    return replace(face, box=(x * factor, y * factor, width * factor, height * factor), landmarks=landmarks)
