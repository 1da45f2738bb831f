"""How well typicality tells faces with a known expression from everything else."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import DatasetError


@dataclass(frozen=True)
class RejectionScores:
    """How well a threshold on typicality keeps faces and rejects the rest.

    Attributes:
        faces: how many faces were scored.
        non_faces: how many other pictures were scored.
        auroc: chance that a face is more typical than a non-face, ties counting as half.
        threshold: what is less typical than this is rejected.
        faces_kept: share of faces at or above the threshold.
        non_faces_rejected: share of non-faces below the threshold.
    """

    faces: int
    non_faces: int
    auroc: float
    threshold: float
    faces_kept: float
    non_faces_rejected: float


def rejection_scores(
    faces: NDArray[np.floating], non_faces: NDArray[np.floating], *, keep_share: float = 0.95
) -> RejectionScores:
    """Score typicality as a test for faces, at the threshold that keeps a given share of them.

    Args:
        faces: (n,) typicality of faces, higher = more typical.
        non_faces: (m,) typicality of other pictures.
        keep_share: the share of faces to keep, above 0 and up to 1.

    Raises:
        DatasetError: one of the two is empty or holds a NaN, or the share is not above 0 and up to 1.
    """
    area = auroc(faces, non_faces)
    threshold = threshold_keeping(faces, keep_share)
    return RejectionScores(
        faces=faces.size,
        non_faces=non_faces.size,
        auroc=area,
        threshold=threshold,
        faces_kept=float((faces >= threshold).mean()),
        non_faces_rejected=float((non_faces < threshold).mean()),
    )


def auroc(faces: NDArray[np.floating], non_faces: NDArray[np.floating]) -> float:
    """Area under the ROC curve: the share of pairs in which the face is more typical, ties counting as half.

    Args:
        faces: (n,) typicality of faces, higher = more typical; infinite values are welcome.
        non_faces: (m,) typicality of other pictures.

    Raises:
        DatasetError: one of the two is empty or holds a NaN.
    """
    _check("faces", faces)
    _check("non-faces", non_faces)
    ascending = np.sort(non_faces)
    below = np.searchsorted(ascending, faces, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(ascending, faces, side="right").sum(dtype=np.int64)
    return float((below + not_above) / (2 * faces.size * non_faces.size))


def threshold_keeping(faces: NDArray[np.floating], share: float) -> float:
    """The highest threshold that at least ``share`` of the faces reach.

    Args:
        faces: (n,) typicality, higher = more typical.
        share: above 0 and up to 1.

    Raises:
        DatasetError: there is no face, a typicality is NaN, or the share is not above 0 and up to 1.
    """
    _check("faces", faces)
    if not 0 < share <= 1:
        raise DatasetError(f"a threshold wants a share of faces above 0 and up to 1, got {share}")
    # 0.07 * 100 is slightly more than 7 in floating point, but asks for 7 faces.
    kept = max(1, math.ceil(share * faces.size - 1e-9))
    return float(np.sort(faces)[faces.size - kept])


def _check(kind: str, typicality: NDArray[np.floating]) -> None:
    if typicality.ndim != 1 or typicality.size == 0 or np.isnan(typicality).any():
        raise DatasetError(
            f"rejection wants the typicality of at least one of the {kind}, each a number, got an array of shape "
            f"{typicality.shape} with {int(np.isnan(typicality).sum())} NaN"
        )
