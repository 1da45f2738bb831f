"""Candidates: what the anchors of YuNet say, and how those of one face become one detection."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.model.faces.box import Box

STRIDES: Final = (8, 16, 32)
"""Pixels between the anchors of each of the network's three outputs."""

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


def decode_outputs(
    outputs: Mapping[str, NDArray[np.float32]], columns_px: int, min_score: float
) -> NDArray[np.float32]:
    """(n, 15) candidates: x, y, width, height, five landmarks (x, y), score; in pixels of the network's input.

    Args:
        outputs: of YuNet, by their names.
        columns_px: width of its input.
        min_score: candidates with a lower score are left out.
    """
    return np.concatenate([_decode(outputs, stride, columns_px // stride, min_score) for stride in STRIDES])


def _decode(
    outputs: Mapping[str, NDArray[np.float32]], stride: int, columns: int, min_score: float
) -> NDArray[np.float32]:
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
        shared = overlap(waiting[0, :4], waiting[:, :4])
        landmarks = mean_landmarks(waiting[shared > VOTING_OVERLAP])
        x, y, width, height, score = (float(value) for value in waiting[0, [0, 1, 2, 3, 14]])
        found.append(Detection((x, y, width, height), score, landmarks))
        shared[0] = 1  # exactly 1, so that the loop ends in spite of rounding
        waiting = waiting[shared <= NMS_OVERLAP]
    return found


def mean_landmarks(candidates: NDArray[np.float32]) -> NDArray[np.float32]:
    """(5, 2) landmarks: the mean over one or more candidates of a face, weighted by score."""
    mean: NDArray[np.float64] = np.average(candidates[:, 4:14], axis=0, weights=candidates[:, 14])
    return mean.reshape(5, 2).astype(np.float32)


def overlap(box: ArrayLike, others: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) intersection over union of a box with each of (n, 4) others."""
    one = np.asarray(box, dtype=np.float32)
    lower = np.maximum(one[:2], others[:, :2])
    upper = np.minimum(one[:2] + one[2:], others[:, :2] + others[:, 2:])
    shared = (upper - lower).clip(0).prod(axis=1)
    shares: NDArray[np.float32] = shared / (one[2:].prod() + others[:, 2:].prod(axis=1) - shared)
    return shares
