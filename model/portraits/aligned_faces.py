"""Training faces of portraits: frontal faces, aligned by their landmarks.

An average of faces is only sharp if eyes lie on eyes and mouths on mouths, and FER2013 frames faces loosely.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import DatasetError
from mien.model.faces.detection import Detector
from mien.model.faces.framing import frame_face

FRONTAL_SHARE: Final = 0.5
"""The share of each emotion's faces that is kept, the most frontal ones."""


@dataclass(frozen=True)
class AlignedFaces:
    """Faces framed by their landmarks.

    Attributes:
        rows: (m,) int64 indices of the faces among the given ones.
        crops: (m, 48, 48) uint8.
    """

    rows: NDArray[np.int64]
    crops: NDArray[np.uint8]


def align_faces(
    crops: NDArray[np.uint8],
    labels: NDArray[np.int64],
    detector: Detector,
    *,
    most: int,
    seed: int,
    on_progress: Callable[[int, int], None] = lambda _, __: None,
) -> AlignedFaces:
    """Align face crops by their landmarks and keep the most frontal ones.

    Args:
        crops: (n, 48, 48) uint8.
        labels: (n,) the emotion of each crop.
        detector: finds the landmarks.
        most: the number of crops of each emotion that are tried.
        seed: chooses these crops.
        on_progress: called with the number of crops done and their total.

    Raises:
        DatasetError: the detector finds a face in none of the crops.
    """
    generator = np.random.default_rng(seed)
    chosen = np.concatenate(
        [generator.permutation(np.flatnonzero(labels == label))[:most] for label in np.unique(labels)]
    )

    def align(row: int) -> tuple[NDArray[np.uint8], float] | None:
        found = frame_face(crops[row], detector)
        return None if found is None else (found[0], _turn(found[1]))

    rows, aligned, turns = [], [], []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for done, (row, found) in enumerate(zip(chosen.tolist(), threads.map(align, chosen.tolist()), strict=True), 1):
            if found is not None:
                rows.append(row)
                aligned.append(found[0])
                turns.append(found[1])
            on_progress(done, len(chosen))
    if not rows:
        raise DatasetError(f"portraits need faces, but no face was found in any of {len(chosen)} crops")
    kept = _least(np.array(turns), labels[rows], FRONTAL_SHARE)
    return AlignedFaces(np.array(rows, dtype=np.int64)[kept], np.stack(aligned)[kept])


def _turn(landmarks: NDArray[np.floating]) -> float:
    """How far nose and mouth are to the side of the middle between the eyes, in eye distances; 0 is frontal."""
    right_eye, left_eye, nose = landmarks[:3]
    across = left_eye - right_eye
    length = max(float(np.linalg.norm(across)), 1e-6)
    middle, mouth = (right_eye + left_eye) / 2, landmarks[3:].mean(axis=0)
    return float(sum(abs(np.dot(point - middle, across)) / length**2 for point in (nose, mouth)))


def _least(values: NDArray[np.float64], labels: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Indices of the lowest ``share`` of the values of each label, ascending."""
    kept = [
        np.flatnonzero(labels == label)[values[labels == label].argsort(kind="stable")][
            : max(1, round(share * int((labels == label).sum())))
        ]
        for label in np.unique(labels)
    ]
    return np.sort(np.concatenate(kept))
