"""Face detection: YuNet on ONNX Runtime.

Source: Wu, Peng, Yu: *YuNet: A Tiny Millisecond-level Face Detector*, Machine Intelligence Research 20 (2023).
``mien.model.faces.yunet`` says where the network's file comes from.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from mien.model.errors import DetectorError
from mien.model.faces.box import Box

YUNET: Final = Path(__file__).with_name("yunet.onnx")
"""The detector that mien carries."""

STRIDES: Final = (8, 16, 32)
"""Pixels between the anchors of each of the network's three outputs."""

PYRAMID_PX: Final = (1280, 320)
"""Longer sides to which a photograph is scaled down, one for each pass of the network.

The network finds faces from about 10 to 300 pixels. The first pass keeps small faces in a large photograph large
enough; in the second, a face that fills the photograph is small enough.
"""

MIN_SIDE_PX: Final = 240
"""A smaller image is scaled up to this longer side: a 48x48 face crop is too small for the network."""

NMS_OVERLAP: Final = 0.3
"""Two boxes that overlap more than this (intersection over union) are one face; as in OpenCV's FaceDetectorYN."""

MAX_CANDIDATES: Final = 5000
"""Only the best candidates are considered, two or more for each face: it bounds the time of an image full of faces."""

VOTING_OVERLAP: Final = 0.5
"""The landmarks of a face are the mean over the candidates that overlap it more than this."""


@dataclass(frozen=True)
class Detection:
    """A face in an image.

    Attributes:
        box: in pixels of the image; it may reach over the image's edge.
        score: confidence, from 0 to 1.
        landmarks: (5, 2) float32, x and y in pixels of the image: right eye, left eye, nose, right and left corner
            of the mouth; right and left are the person's.
    """

    box: Box
    score: float
    landmarks: NDArray[np.float32]


class Detector:
    """Finds faces.

    Thread-safe: one detector serves all threads of a process.

    Attributes:
        min_score: detections with a lower score are left out.
    """

    def __init__(self, path: Path | None = None, *, threads: int = 1, min_score: float = 0.6) -> None:
        """Load the network.

        Args:
            path: YuNet's ONNX file, with free height and width; None takes the one that mien carries.
            threads: for one detection; 0 leaves the choice to ONNX Runtime.
            min_score: detections with a lower score are left out; from 0 to 1.

        Raises:
            DetectorError: the file is missing, is not YuNet, or takes images of one size only.
        """
        self.min_score = min_score
        self._session = _load(YUNET if path is None else path, threads)

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of an image.

        Args:
            image: (h, w, 3) uint8 RGB, of any size.

        Returns:
            The faces, largest box first; may be empty.
        """
        if image.size == 0:
            return []
        candidates = np.concatenate([self._detect_at(image, side) for side in _pyramid(max(image.shape[:2]))])
        faces = merge(candidates)
        return sorted(faces, key=lambda face: face.box[2] * face.box[3], reverse=True)

    def candidates(self, picture: Image.Image) -> NDArray[np.float32]:
        """Run the network once on an RGB picture as it is.

        Returns:
            (n, 15) box (x, y, width, height), landmarks (five times x, y) and score, in pixels of ``picture``, before
            ``merge``.
        """
        canvas = np.zeros((1, 3, _padded(picture.height), _padded(picture.width)), np.float32)
        pixels = np.asarray(picture)
        for channel in range(3):  # BGR, 0 to 255
            canvas[0, channel, : picture.height, : picture.width] = pixels[:, :, 2 - channel]
        outputs = dict(zip(_OUTPUTS, self._session.run(list(_OUTPUTS), {"input": canvas}), strict=True))
        columns = canvas.shape[3]
        return np.concatenate([_decode(outputs, stride, columns // stride, self.min_score) for stride in STRIDES])

    def _detect_at(self, image: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
        """(n, 15) candidates at one level of the pyramid, in pixels of ``image``: box, landmarks, score."""
        height, width = image.shape[:2]
        scale = side / max(height, width)
        scaled_height, scaled_width = max(1, round(height * scale)), max(1, round(width * scale))
        found = self.candidates(_resize(image, scaled_width, scaled_height))
        found[:, 0:14:2] *= width / scaled_width
        found[:, 1:14:2] *= height / scaled_height
        return found


_OUTPUTS: Final = tuple(f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in STRIDES)


def _load(path: Path, threads: int) -> Any:
    if not path.is_file():
        raise DetectorError(f"{path}: expected YuNet's ONNX file, found none")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False  # it would keep a memory plan for every image size
    options.log_severity_level = 4  # errors are raised, not printed
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  ONNX Runtime's errors have no common base class
        raise DetectorError(f"{path}: expected YuNet's ONNX file, got one that does not load ({error})") from None
    names = {output.name for output in session.get_outputs()}
    if not names.issuperset(_OUTPUTS):
        raise DetectorError(f"{path}: expected YuNet's outputs {', '.join(_OUTPUTS)}, got {', '.join(sorted(names))}")
    shape = session.get_inputs()[0].shape
    if any(isinstance(side, int) for side in shape[2:]):
        raise DetectorError(
            f"{path}: expected YuNet for images of any height and width, got one whose input is {shape}; "
            "`python -m mien.model.faces.yunet` frees its shapes"
        )
    return session


def _pyramid(longest: int) -> list[int]:
    if longest < MIN_SIDE_PX:
        return [MIN_SIDE_PX]
    return sorted({min(longest, side) for side in PYRAMID_PX}, reverse=True)


def _resize(image: NDArray[np.uint8], width: int, height: int) -> Image.Image:
    picture = Image.fromarray(image)
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.0)


def _padded(side: int) -> int:
    """The next multiple of the largest stride."""
    return -(-side // STRIDES[-1]) * STRIDES[-1]


def _decode(
    outputs: dict[str, NDArray[np.float32]], stride: int, columns: int, min_score: float
) -> NDArray[np.float32]:
    """(n, 15) candidates of one stride: x, y, width, height, five landmarks, score, in pixels of the canvas."""
    scores = np.sqrt(outputs[f"cls_{stride}"][0].clip(0, 1) * outputs[f"obj_{stride}"][0].clip(0, 1))  # (cells, 1)
    cells = np.flatnonzero((scores >= min_score) & (scores > 0))
    box, points = outputs[f"bbox_{stride}"][0, cells], outputs[f"kps_{stride}"][0, cells]
    anchors = np.stack([cells % columns, cells // columns], axis=1).astype(np.float32)
    size = np.exp(box[:, 2:]) * stride
    corner = (anchors + box[:, :2]) * stride - size / 2
    landmarks = (points + np.tile(anchors, 5)) * stride
    return np.concatenate([corner, size, landmarks, scores[cells]], axis=1)


def merge(candidates: NDArray[np.float32]) -> list[Detection]:
    """Merge overlapping candidates (non-maximum suppression): box and score are those of the best.

    The landmarks are the mean over the candidates, weighted by score. Those of one candidate are off by up to a
    twelfth of the face's width, depending on the scale and place of the face; the mean halves how far crops of one
    face differ.
    """
    waiting = candidates[np.argsort(-candidates[:, 14], kind="stable")[:MAX_CANDIDATES]]
    found: list[Detection] = []
    while len(waiting):
        overlap = _overlap(waiting[0, :4], waiting[:, :4])
        voters = waiting[overlap > VOTING_OVERLAP]
        landmarks = np.average(voters[:, 4:14], axis=0, weights=voters[:, 14]).reshape(5, 2).astype(np.float32)
        x, y, width, height, score = (float(value) for value in waiting[0, [0, 1, 2, 3, 14]])
        found.append(Detection((x, y, width, height), score, landmarks))
        overlap[0] = 1  # exactly 1, so that the loop ends in spite of rounding
        waiting = waiting[overlap <= NMS_OVERLAP]
    return found


def _overlap(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) intersection over union of a box with each of (n, 4) others."""
    lower = np.maximum(box[:2], others[:, :2])
    upper = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    shared = (upper - lower).clip(0).prod(axis=1)
    overlap: NDArray[np.float32] = shared / (box[2:].prod() + others[:, 2:].prod(axis=1) - shared)
    return overlap
