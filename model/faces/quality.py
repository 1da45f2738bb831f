"""Quality of a face: its size, sharpness, pose, and how much of its crop lies outside the picture.

The pose is that of a rigid head under weak perspective (scaled orthographic projection): the five landmarks are an
affine image of five points of a head, and the nearest rotation to the affine map gives the angles. Source: DeMenthon,
Davis: *Model-Based Object Pose in 25 Lines of Code*, IJCV 1995 (its first step, POS).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mien.model.faces.alignment import TEMPLATE, crop_side_px
from mien.model.faces.reader import Face

_EYE_DISTANCE: Final = float(TEMPLATE[1, 0] - TEMPLATE[0, 0])

DEPTHS: Final = np.array([0.0, 0.0, 0.64, 0.13, 0.13])
"""How far each landmark of a head lies in front of the eyes, in distances of the eyes.

Those of MediaPipe's ``canonical_face_model.obj``: the tip of the nose (vertex 1) is 4.0 cm and the corners of the
mouth (61, 291) are 0.8 cm in front of the middles of the eyes' corners (33, 133, 263, 362), which are 6.3 cm apart.
Across and down, the head is the median face of FER2013 (``TEMPLATE``), so that its pitch is 0.
"""

ROLL_GAIN: Final = 1.15
"""Degrees that a face was turned by, for a degree that its landmarks turned by.

YuNet turns the landmarks of a large face by a little less than it should (by half of it in small faces, which is why
``mien.model.faces.search`` looks at faces again, larger); measured on studio photographs turned by up to 30 degrees
(``benchmarks/quality.py``).
"""

SMALL_PX: Final = 28
"""A face with a smaller ``face_px`` is small.

This limit and the next ones are where accuracy on FER+ validation fell by 5 points with the network that they
were chosen for; docs/quality.md has what they are worth with the one that ships.
"""

BLURRED: Final = 0.1
"""A face with a lower sharpness is blurred."""

TURNED_YAW: Final = 30.0
"""A face turned further aside is turned."""

TURNED_PITCH: Final = 10.0
"""A face turned further up or down is turned."""

CUT_OFF: Final = 0.15
"""A face with a larger share of its crop outside the photograph is cut off."""

Fault = Literal["small", "blurred", "turned", "cut_off"]

_HEAD: Final = np.column_stack([(TEMPLATE - TEMPLATE.mean(axis=0)) / _EYE_DISTANCE, DEPTHS - DEPTHS.mean()])
_TO_AFFINE: Final = np.linalg.pinv(_HEAD)  # (3, 5)


@dataclass(frozen=True)
class FaceQuality:
    """What limits how well the expression of a face can be read.

    Attributes:
        face_px: side of the square of the photograph that became the crop, in pixels of the photograph.
        sharpness: share of the crop's contrast in detail finer than three of its pixels; about 0.2 for a sharp face.
        yaw: degrees, positive where the face turns to the right of the picture; None without landmarks.
        pitch: degrees, positive where it looks up; None without landmarks.
        roll: degrees, positive where the head leans clockwise in the picture; None without landmarks.
        outside: share of the crop outside the photograph, 0 to 1.
    """

    face_px: float
    sharpness: float
    yaw: float | None
    pitch: float | None
    roll: float | None
    outside: float

    @property
    def faults(self) -> list[Fault]:
        """What is bad enough to cost accuracy."""
        turned = abs(self.yaw or 0) > TURNED_YAW or abs(self.pitch or 0) > TURNED_PITCH
        found: dict[Fault, bool] = {
            "small": self.face_px < SMALL_PX,
            "blurred": self.sharpness < BLURRED,
            "turned": turned,
            "cut_off": self.outside > CUT_OFF,
        }
        return [fault for fault, present in found.items() if present]


def measure_quality(faces: Sequence[Face]) -> list[FaceQuality]:
    """The quality of each face."""
    if not faces:
        return []
    sharp = sharpness(np.stack([face.crop for face in faces])).tolist()
    turned = [row for row, face in enumerate(faces) if face.landmarks is not None]
    landmarks = [face.landmarks for face in faces if face.landmarks is not None]
    angles = dict(zip(turned, pose(np.stack(landmarks)).tolist(), strict=True)) if landmarks else {}
    measured = []
    for row, face in enumerate(faces):
        side_px = min(face.box[2:]) if face.landmarks is None else crop_side_px(face.landmarks)
        yaw, pitch, roll = angles.get(row, (None, None, None))
        measured.append(FaceQuality(side_px, sharp[row], yaw, pitch, roll, face.outside))
    return measured


def sharpness(crops: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The share of the contrast of crops that is in fine detail.

    The standard deviation of what a mean over 3x3 pixels takes away, as a share of that of the crop.

    Args:
        crops: (n, h, w) uint8 grey.

    Returns:
        (n,) float64; about 0.2 for a sharp face, about 1 for noise, 0 for a crop of one grey.
    """
    greys = crops.astype(np.float32)
    sums = greys[:, :-2] + greys[:, 1:-1] + greys[:, 2:]
    means = (sums[:, :, :-2] + sums[:, :, 1:-1] + sums[:, :, 2:]) / 9
    fine = (greys[:, 1:-1, 1:-1] - means).std(axis=(1, 2))
    whole = greys.std(axis=(1, 2))
    return np.asarray(np.divide(fine, whole, out=np.zeros(len(crops)), where=whole > 0))


def pose(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Yaw, pitch and roll of heads.

    Args:
        landmarks: (n, 5, 2) x and y in pixels, in the order of ``Detection``.

    Returns:
        (n, 3) float64 degrees, with the signs of ``FaceQuality``.
    """
    centred = landmarks - landmarks.mean(axis=1, keepdims=True)
    affine = np.swapaxes(_TO_AFFINE @ centred, 1, 2)  # (n, 2, 3): landmarks = affine @ head
    left, _, right = np.linalg.svd(affine, full_matrices=False)
    rows = left @ right  # the first two rows of the nearest rotation
    third = np.cross(rows[:, 0], rows[:, 1])  # how far each axis of the head points to the viewer
    # x to the right, y down, z to the viewer: R = roll about z, times pitch about x, times yaw about y.
    yaw = np.arctan2(-third[:, 0], third[:, 2])
    pitch = np.arcsin(third[:, 1].clip(-1, 1))
    roll = ROLL_GAIN * np.arctan2(-rows[:, 0, 1], rows[:, 1, 1])
    return np.asarray(np.degrees(np.stack([yaw, pitch, roll], axis=1)))
