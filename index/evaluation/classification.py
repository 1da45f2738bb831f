"""Classification: how well predicted emotions agree with the raters' labels, and two classifiers to compare with."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.intervals import Scores, percentile_interval, resampled_means
from mien.index.gallery.fixed_gallery import FixedGallery
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError

NEIGHBOURS: Final = 11
"""k of the nearest-neighbour classifier, as in the paper."""

FREQUENT: Final = ("neutral", "happiness", "surprise", "sadness", "anger", "fear")
"""The emotions of which FER+ validation has more than a few dozen faces: without disgust and contempt."""

Classifier = Callable[[NDArray[np.float32]], NDArray[np.int64]]


@dataclass(frozen=True)
class ClassificationScores:
    """Agreement of predicted classes with labels.

    The macro figures are plain means over the classes that occur in the labels. A class that no label has takes no
    part in them, although a prediction of it still counts as a mistake for the face that got it; a class that was
    never predicted has precision and F1 of 0.

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
    from sklearn.metrics import confusion_matrix, normalized_mutual_info_score

    _check(labels, predicted, len(class_names))
    confusion = confusion_matrix(labels, predicted, labels=np.arange(len(class_names)))
    hits = confusion.diagonal()
    label_counts, prediction_counts = confusion.sum(axis=1), confusion.sum(axis=0)
    occurs = label_counts > 0
    recall = hits[occurs] / label_counts[occurs]
    precision = hits[occurs] / np.maximum(prediction_counts[occurs], 1)
    f1 = 2 * hits[occurs] / (label_counts[occurs] + prediction_counts[occurs])
    return ClassificationScores(
        faces=int(labels.size),
        accuracy=float(hits.sum() / labels.size),
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        normalised_mutual_information=float(normalized_mutual_info_score(labels, predicted)),
        recall_per_class={
            name: float(hits[row] / count) if count else None
            for row, (name, count) in enumerate(zip(class_names, label_counts, strict=True))
        },
        confusion=confusion.tolist(),
    )


def score_classification(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> Scores:
    """Score predicted emotions, with intervals.

    Args:
        labels: (n,) indices into ``EMOTIONS``.
        predicted: (n,) the same.

    Raises:
        DatasetError: there is no face.
    """
    scores = asdict(classification_scores(labels, predicted, EMOTIONS))
    recalls = [recall for name in FREQUENT if (recall := scores["recall_per_class"][name]) is not None]
    scores["macro_recall_frequent"] = float(np.mean(recalls)) if recalls else None

    count = len(EMOTIONS)
    cells = np.eye(count**2, dtype=np.bool_)[labels * count + predicted]  # (n, c * c)
    confusion = resampled_means(cells).reshape(-1, count, count)
    occurs = np.bincount(labels, minlength=count) > 0
    hits = np.diagonal(confusion, axis1=1, axis2=2)[:, occurs]  # (r, classes that occur)
    label_shares, prediction_shares = confusion.sum(axis=2)[:, occurs], confusion.sum(axis=1)[:, occurs]
    # A draw without a class has no recall for it; a macro figure is then over the rest, as in the scores themselves.
    label_shares = np.where(label_shares > 0, label_shares, np.nan)
    recall = hits / label_shares
    precision = hits / np.where(prediction_shares > 0, prediction_shares, 1.0) + 0 * label_shares
    f1 = 2 * hits / (label_shares + prediction_shares)
    names = [name for name, present in zip(EMOTIONS, occurs, strict=True) if present]
    intervals = {
        "accuracy": percentile_interval(hits.sum(axis=1)),
        "macro_precision": percentile_interval(_mean_without_nan(precision)),
        "macro_recall": percentile_interval(_mean_without_nan(recall)),
        "macro_f1": percentile_interval(_mean_without_nan(f1)),
        **{
            f"recall_per_class.{name}": percentile_interval(column)
            for name, column in zip(names, recall.T, strict=True)
        },
    }
    frequent = [column for column, name in enumerate(names) if name in FREQUENT]
    if frequent:
        intervals["macro_recall_frequent"] = percentile_interval(_mean_without_nan(recall[:, frequent]))
    return scores, intervals


def softmax_head(gallery: FixedGallery) -> Classifier:
    """The baseline: a softmax layer on the same embeddings, fitted on the faces of a gallery."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Without scaling, dimensions of very different spread stall the solver; some losses leave such spaces.
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    head.fit(gallery.embeddings, gallery_labels(gallery))
    return lambda queries: np.asarray(head.predict(queries), dtype=np.int64)


def nearest_neighbour_vote(gallery: FixedGallery, queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """(q,) the most frequent emotion among the nearest faces; among equally frequent ones, the nearest's."""
    winners = np.empty(len(queries), dtype=np.int64)
    for query, matches in enumerate(gallery.search(queries, NEIGHBOURS)):
        votes = [EMOTIONS.index(match.entry.emotion) for match in matches]
        winners[query] = max(votes, key=votes.count)
    return winners


def gallery_labels(gallery: FixedGallery) -> NDArray[np.int64]:
    """(n,) indices into ``EMOTIONS`` of a gallery's faces."""
    return np.array([EMOTIONS.index(entry.emotion) for entry in gallery.entries], dtype=np.int64)


def _check(labels: NDArray[np.integer], predicted: NDArray[np.integer], class_count: int) -> None:
    if labels.shape != predicted.shape or labels.ndim != 1 or labels.size == 0:
        raise DatasetError(
            f"expected one label and one prediction per face, got {labels.shape} labels "
            f"and {predicted.shape} predictions"
        )
    for name, classes in (("labels", labels), ("predictions", predicted)):
        if classes.min() < 0 or classes.max() >= class_count:
            raise DatasetError(f"{name} must be from 0 to {class_count - 1}, got {classes.min()} to {classes.max()}")


def _mean_without_nan(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(r,) means of the rows of (r, m) over the entries that are not NaN; NaN for a row of NaN alone."""
    present = ~np.isnan(values)
    counts = present.sum(axis=1)
    sums = np.where(present, values, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
