"""Rejection: how well typicality tells faces with a known expression from outliers.

Source of the interval of an AUROC: DeLong, DeLong, Clarke-Pearson: *Comparing the Areas under Two or More Correlated
Receiver Operating Characteristic Curves*, 1988 (its structural components).
"""

from collections.abc import Container, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.scores.intervals import Interval, Scores, mean_interval, percentile_interval, resampled_means
from mien.model.errors import DatasetError


def score_rejection(
    faces: NDArray[np.float64], kinds: Mapping[str, NDArray[np.float64]], seen: Container[str], threshold: float
) -> Scores:
    """Score typicality against several kinds of outliers, each kind counting the same, with intervals.

    The mean of the kinds' AUROC is the AUROC of faces against a pool of all kinds in equal shares. The intervals are
    over the choice of both faces and outliers.

    Args:
        faces: (n,) typicality of faces.
        kinds: what outliers show, at least one kind, to their (m,) typicality.
        seen: the kinds that something was fitted on.
        threshold: what is less typical than this is rejected.

    Returns:
        The scores, JSON values: ``auroc`` and ``outliers_rejected`` (share below the threshold), means over the kinds;
        ``auroc_unseen``, the mean over the unseen kinds; ``threshold``; ``faces_kept`` (share at or above it); and
        ``kinds``, with the figures of each kind and the numbers of faces and outliers.

    Raises:
        DatasetError: there is no face or no kind, a kind is empty, or a typicality is NaN.
    """
    if not kinds:
        raise DatasetError("rejection needs at least one kind of outliers, got none")
    wins = {kind: win_shares(faces, typicality) for kind, typicality in kinds.items()}
    below = {kind: typicality < threshold for kind, typicality in kinds.items()}
    unseen = [kind for kind in kinds if kind not in seen]
    faces_kept = float((faces >= threshold).mean())
    scores = {
        kind: {
            "faces": faces.size,
            "outliers": typicality.size,
            "auroc": float(wins[kind][0].mean()),
            "threshold": threshold,
            "faces_kept": faces_kept,
            "outliers_rejected": float(below[kind].mean()),
            "seen": kind in seen,
        }
        for kind, typicality in kinds.items()
    }
    intervals = {
        "auroc": _auroc_interval(list(wins.values())),
        "faces_kept": mean_interval(faces >= threshold),
        "outliers_rejected": percentile_interval(
            np.mean([resampled_means(each, seed=row) for row, each in enumerate(below.values(), start=1)], axis=0)
        ),
    }
    if unseen:
        intervals["auroc_unseen"] = _auroc_interval([wins[kind] for kind in unseen])
    for kind in scores:
        intervals[f"kinds.{kind}.auroc"] = _auroc_interval([wins[kind]])
        intervals[f"kinds.{kind}.outliers_rejected"] = mean_interval(below[kind])
    return {
        "auroc": float(np.mean([each["auroc"] for each in scores.values()])),
        "auroc_unseen": float(np.mean([scores[kind]["auroc"] for kind in unseen])) if unseen else None,
        "threshold": threshold,
        "faces_kept": faces_kept,
        "outliers_rejected": float(np.mean([each["outliers_rejected"] for each in scores.values()])),
        "kinds": scores,
    }, intervals


def auroc(faces: NDArray[np.floating], outliers: NDArray[np.floating]) -> float:
    """Area under the ROC curve: the share of pairs in which the face is more typical; see ``win_shares``."""
    return float(win_shares(faces, outliers)[0].mean())


def win_shares(
    faces: NDArray[np.floating], outliers: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The structural components of the AUROC, which is the mean over the faces as well as that over the outliers.

    Args:
        faces: (n,) typicality of faces; may be infinite.
        outliers: (m,) typicality of outliers.

    Returns:
        (n,) for each face the share of outliers that are less typical, and (m,) for each outlier the share of faces
        that are more typical; ties count as half.

    Raises:
        DatasetError: one of the two is empty or holds a NaN.
    """
    for name, typicality in (("faces", faces), ("outliers", outliers)):
        if typicality.ndim != 1 or typicality.size == 0 or np.isnan(typicality).any():
            raise DatasetError(
                f"expected the typicality of at least one of the {name}, got an array of shape "
                f"{typicality.shape} with {int(np.isnan(typicality).sum())} NaN"
            )
    return _share_below(faces, outliers), 1 - _share_below(outliers, faces)


def _share_below(values: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n,) the share of (m,) others that are below each of (n,) values, ties counting as half."""
    ascending = np.sort(others)
    below = np.searchsorted(ascending, values, side="left")
    not_above = np.searchsorted(ascending, values, side="right")
    return (below + not_above) / (2 * others.size)


def _auroc_interval(wins: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Interval:
    """The interval of the mean AUROC of several kinds, from the ``win_shares`` of each.

    To first order the AUROC moves by the mean of the faces' shares plus that of the outliers', each resampled.
    """
    of_faces = np.mean([faces for faces, _ in wins], axis=0)  # (n,)
    means = resampled_means(of_faces)
    for row, (_, of_outliers) in enumerate(wins, start=1):  # other draws than those of the faces
        means = means + (resampled_means(of_outliers, seed=row) - of_outliers.mean()) / len(wins)
    return percentile_interval(means.clip(0, 1))
