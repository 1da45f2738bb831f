"""From the bytes of an image file to its faces: decode, detect, align.

The service, the commands, imports and evaluations all read images here, so that the same file gives the same crops
everywhere.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import NoFaceError
from mien.model.faces.alignment import crop_face, crop_whole, share_outside
from mien.model.faces.box import Box, clip
from mien.model.faces.decoding import DEFAULT_LIMITS, DecodingLimits, decode, decode_grey
from mien.model.faces.detection import Detection, Detector
from mien.model.faces.photograph import Photograph
from mien.model.faces.search import SEEN_PX
from mien.model.faces.thumbnail import THUMBNAIL_PX, thumbnail

MIN_DECODED_PX: Final = 960
"""A JPEG is not decoded smaller: it is decoded once for all levels of the search.

Twice, as far as the search goes, took longer: of 12 megapixels, decoding at a quarter takes 33 ms, at a half 35 (an
eighth 27, the whole 44). The finest level is scaled up from this by a third at most.
"""

MIN_FACE_PX: Final = 60
"""A JPEG is decoded so finely that no face is narrower than this, unless it is narrower in the file.

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
        max_faces: int | None = None,
        timed: Callable[[Stage], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> list[Face]:
        """Decode an image file, and find and cut out its faces.

        A large JPEG photograph is decoded at a fraction of its size; finer, and then grey levels alone, where its faces
        are small there. Of an image that is one face already, only the grey levels are decoded.

        Args:
            data: the whole file; or (h, w, 3) uint8 RGB, pixels that are decoded and upright already.
            already_cropped: the whole image is one face, and nothing is detected.
            thumbnails: how many faces get a thumbnail, the largest first.
            max_faces: the largest faces that are read where that is fewer than the reader's ``max_faces``; for few
                faces, the search ends early.
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
        photograph = Photograph(data, self.limits, lambda: timed("decode"))
        most = self._most(max_faces)
        image, _ = photograph.pixels(MIN_DECODED_PX)
        with timed("detect"):
            detections = self.detector.detect(image, most, photograph.size)
        found = _inside(detections, photograph.size)[:most]
        if not found:
            width, height = photograph.size
            raise NoFaceError(
                f"no face was found in the image of {width}x{height} pixels; "
                "if the image is a face crop, pass it as already cropped"
            )
        face_px = THUMBNAIL_PX if thumbnails else MIN_FACE_PX
        min_px = max(photograph.size) * face_px / min(box[2] for box, _ in found)
        image, factor = photograph.pixels(min_px, "RGB" if thumbnails else "L")
        with timed("detect"):
            faces = [cut_out(image, detection, photograph.size, factor) for _, detection in found]
            for row, face in enumerate(faces[:thumbnails]):
                faces[row] = replace(face, thumbnail=thumbnail(image, found[row][1].landmarks / factor))
        return faces

    def crop_faces(
        self, image: NDArray[np.uint8], max_faces: int | None = None, *, min_seen_px: int = SEEN_PX[0]
    ) -> list[Face]:
        """Find the faces of decoded pixels, such as a frame of a video, and cut them out.

        Args:
            image: (h, w, 3) uint8 RGB, upright.
            max_faces: as in ``read_faces``.
            min_seen_px: as of ``FaceSearch``.

        Returns:
            At most ``max_faces`` faces, largest box first; empty when there is none.
        """
        most = self._most(max_faces)
        detections = self.detector.detect(image, most, min_seen_px=min_seen_px)
        found = _inside(detections, (image.shape[1], image.shape[0]))[:most]
        return [cut_out(image, detection) for _, detection in found]

    def _most(self, max_faces: int | None) -> int | None:
        return self.max_faces if max_faces is None else min(max_faces, self.max_faces or max_faces)


def _inside(detections: Sequence[Detection], size: tuple[int, int]) -> list[tuple[Box, Detection]]:
    """Detections with their boxes clipped to the picture, largest first."""
    boxed = [(clip(detection.box, *size), detection) for detection in detections]
    inside = [(box, detection) for box, detection in boxed if box[2] > 0 and box[3] > 0]
    return sorted(inside, key=lambda pair: pair[0][2] * pair[0][3], reverse=True)


def cut_out(
    image: NDArray[np.uint8], detection: Detection, size: tuple[int, int] | None = None, factor: int = 1
) -> Face:
    """Cut out a detected face, whose box is at least partly inside.

    Args:
        image: (h, w, 3) uint8 RGB, or (h, w) grey.
        detection: in pixels of the picture that the image is reduced from.
        size: width and height of that picture; None where the image is not reduced.
        factor: by how much it is reduced.
    """
    width, height = size or (image.shape[1], image.shape[0])
    return Face(
        clip(detection.box, width, height),
        detection.score,
        crop_face(image, detection.landmarks / factor),
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
    return replace(face, thumbnail=thumbnail(image, None))
