"""How well typicality tells faces with a known expression from everything else.

Source of the interval of an AUROC: DeLong, DeLong, Clarke-Pearson: *Comparing the Areas under Two or More Correlated
Receiver Operating Characteristic Curves*, 1988 (its structural components).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.intervals import Interval, Scored, mean_interval, percentile_interval, resampled_means
from mien.model.errors import DatasetError


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


def rejection_scores(faces: NDArray[np.floating], non_faces: NDArray[np.floating], threshold: float) -> RejectionScores:
    """Score typicality as a test for faces.

    Args:
        faces: (n,) typicality of faces, higher = more typical.
        non_faces: (m,) typicality of other pictures.
        threshold: what is less typical than this is rejected.

    Raises:
        DatasetError: one of the two is empty or holds a NaN.
    """
    return RejectionScores(
        faces=faces.size,
        non_faces=non_faces.size,
        auroc=auroc(faces, non_faces),
        threshold=threshold,
        faces_kept=float((faces >= threshold).mean()),
        non_faces_rejected=float((non_faces < threshold).mean()),
    )


@dataclass(frozen=True)
class TypicalityOfKind:
    """How typical pictures of one kind are that show no expression.

    Attributes:
        kind: what they show.
        typicality: (m,).
        rehearsed: something was fitted on the like of them.
    """

    kind: str
    typicality: NDArray[np.float64]
    rehearsed: bool


def rejecting(faces: NDArray[np.float64], kinds: Sequence[TypicalityOfKind], threshold: float) -> Scored:
    """Score typicality against several kinds of non-faces, each kind counting the same.

    The mean of the kinds' AUROC is the AUROC of faces against a pool of all kinds in equal shares. The intervals are
    over the choice of both faces and pictures.

    Args:
        faces: (n,) typicality of faces.
        kinds: at least one.
        threshold: what is less typical than this is rejected.

    Raises:
        DatasetError: there is no face or no kind, or a kind is empty.
    """
    if not kinds:
        raise DatasetError("rejection wants at least one kind of non-faces, got none")
    scores = {
        each.kind: asdict(rejection_scores(faces, each.typicality, threshold)) | {"rehearsed": each.rehearsed}
        for each in kinds
    }
    wins = {each.kind: win_shares(faces, each.typicality) for each in kinds}
    rejected = {each.kind: each.typicality < threshold for each in kinds}
    unrehearsed = [each.kind for each in kinds if not each.rehearsed]

    def mean(figure: str, of: Sequence[str]) -> float | None:
        return float(np.mean([scores[kind][figure] for kind in of])) if of else None

    every = list(scores)
    intervals = {
        "auroc": _auroc_interval([wins[kind] for kind in every]),
        "faces_kept": mean_interval(faces >= threshold),
        "non_faces_rejected": percentile_interval(
            np.mean([resampled_means(rejected[kind], seed=row) for row, kind in enumerate(every, start=1)], axis=0)
        ),
    }
    if unrehearsed:
        intervals["auroc_unrehearsed"] = _auroc_interval([wins[kind] for kind in unrehearsed])
    for kind in every:
        intervals[f"kinds.{kind}.auroc"] = _auroc_interval([wins[kind]])
        intervals[f"kinds.{kind}.non_faces_rejected"] = mean_interval(rejected[kind])
    return {
        "auroc": mean("auroc", every),
        "auroc_unrehearsed": mean("auroc", unrehearsed),
        "threshold": threshold,
        "faces_kept": float((faces >= threshold).mean()),
        "non_faces_rejected": mean("non_faces_rejected", every),
        "kinds": scores,
    }, intervals


def _auroc_interval(wins: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Interval:
    """The interval of the mean AUROC of several kinds, from what ``win_shares`` gives for each.

    To first order the AUROC moves by the mean of the faces' shares plus that of the non-faces', each drawn anew.
    """
    of_faces = np.mean([faces for faces, _ in wins], axis=0)  # (n,)
    moved = resampled_means(of_faces)
    for row, (_, of_others) in enumerate(wins, start=1):  # with a seed of its own: other pictures than the faces
        moved = moved + (resampled_means(of_others, seed=row) - of_others.mean()) / len(wins)
    return percentile_interval(moved.clip(0, 1))


def auroc(faces: NDArray[np.floating], non_faces: NDArray[np.floating]) -> float:
    """Area under the ROC curve: the share of pairs in which the face is more typical, ties counting as half.

    Args:
        faces: (n,) typicality of faces, higher = more typical; infinite values are welcome.
        non_faces: (m,) typicality of other pictures.

    Raises:
        DatasetError: one of the two is empty or holds a NaN.
    """
    return float(win_shares(faces, non_faces)[0].mean())


def win_shares(
    faces: NDArray[np.floating], non_faces: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The AUROC picture by picture: its mean over the faces, and its mean over the non-faces, is the AUROC.

    Args:
        faces: (n,) typicality of faces.
        non_faces: (m,) typicality of other pictures.

    Returns:
        (n,) for each face the share of non-faces that are less typical, and (m,) for each non-face the share of faces
        that are more typical; ties count as half.

    Raises:
        DatasetError: one of the two is empty or holds a NaN.
    """
    _check("faces", faces)
    _check("non-faces", non_faces)
    return _share_below(faces, non_faces), 1 - _share_below(non_faces, faces)


def _share_below(values: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n,) the share of (m,) others that are below each of (n,) values, ties counting as half."""
    ascending = np.sort(others)
    below = np.searchsorted(ascending, values, side="left")
    not_above = np.searchsorted(ascending, values, side="right")
    return (below + not_above) / (2 * others.size)


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
