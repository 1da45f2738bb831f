"""How well predicted emotions agree with the raters' labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import DatasetError


@dataclass(frozen=True)
class ClassificationScores:
    """Agreement of predicted classes with labels.

    The macro figures are plain means over the classes that occur in the labels. A class that no label has takes
    no part in them, although a prediction of it still counts as a mistake for the face that got it; a class that
    was never predicted has precision and F1 of 0.

    Attributes:
        faces: n, how many were scored.
        accuracy: share of faces whose prediction is their label.
        macro_precision: mean precision.
        macro_recall: mean recall, also called balanced accuracy.
        macro_f1: mean F1.
        normalised_mutual_information: 2 MI / (H(labels) + H(predictions)), from 0 to 1.
        recall_per_class: class name to recall; None for a class that no label has.
        confusion: (c, c) counts, row = label, column = prediction.
    """

    faces: int
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    normalised_mutual_information: float
    recall_per_class: dict[str, float | None]
    confusion: list[list[int]]


def confusion_counts(
    labels: NDArray[np.integer], predicted: NDArray[np.integer], class_count: int
) -> NDArray[np.int64]:
    """Count the faces of each pair of label and prediction.

    Args:
        labels: (n,) class indices.
        predicted: (n,) class indices.
        class_count: c.

    Returns:
        (c, c) int64, row = label, column = prediction.

    Raises:
        DatasetError: there is no face, the two differ in length, or a class is not in 0..c-1.
    """
    if labels.shape != predicted.shape or labels.ndim != 1 or labels.size == 0:
        raise DatasetError(
            f"scoring wants one label and one prediction per face, got {labels.shape} labels "
            f"and {predicted.shape} predictions"
        )
    for kind, classes in (("labels", labels), ("predictions", predicted)):
        if classes.min() < 0 or classes.max() >= class_count:
            raise DatasetError(
                f"scoring wants {kind} from 0 to {class_count - 1}, got {classes.min()} to {classes.max()}"
            )
    cells = labels.astype(np.int64) * class_count + predicted
    return np.bincount(cells, minlength=class_count**2).reshape(class_count, class_count)


def normalised_mutual_information(contingency: NDArray[np.integer]) -> float:
    """NMI of two partitions of the same faces, 2 MI / (H(rows) + H(columns)).

    Two partitions that both put every face in one part are the same partition: their NMI is 1.

    Args:
        contingency: (a, b) counts of the faces that are in part a of the one and part b of the other.
    """
    joint = contingency / contingency.sum()
    row_share, column_share = joint.sum(axis=1), joint.sum(axis=0)
    entropies = _entropy(row_share) + _entropy(column_share)
    if entropies == 0:
        return 1.0
    information = entropies - _entropy(joint.ravel())
    # With independent partitions the difference of entropies may fall a rounding error below zero.
    return float(np.clip(2 * information / entropies, 0.0, 1.0))


def classification_scores(
    labels: NDArray[np.integer], predicted: NDArray[np.integer], class_names: Sequence[str]
) -> ClassificationScores:
    """Score predicted classes against labels.

    Args:
        labels: (n,) class indices.
        predicted: (n,) class indices.
        class_names: the c names, in the order of the indices.

    Raises:
        DatasetError: there is no face, the two differ in length, or a class is not in 0..c-1.
    """
    confusion = confusion_counts(labels, predicted, len(class_names))
    hits = confusion.diagonal()
    labelled, claimed = confusion.sum(axis=1), confusion.sum(axis=0)
    occurs = labelled > 0
    recall = hits[occurs] / labelled[occurs]
    precision = hits[occurs] / np.maximum(claimed[occurs], 1)
    f1 = 2 * hits[occurs] / (labelled[occurs] + claimed[occurs])
    return ClassificationScores(
        faces=int(labels.size),
        accuracy=float(hits.sum() / labels.size),
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        normalised_mutual_information=normalised_mutual_information(confusion),
        recall_per_class={
            name: float(hits[row] / labelled[row]) if labelled[row] else None for row, name in enumerate(class_names)
        },
        confusion=confusion.tolist(),
    )


def _entropy(shares: NDArray[np.float64]) -> float:
    """Entropy in nats, with 0 log 0 = 0."""
    occurring = shares[shares > 0]
    # Adding 0.0 turns the -0.0 of a single share into 0.0.
    return float(-(occurring * np.log(occurring)).sum() + 0.0)
