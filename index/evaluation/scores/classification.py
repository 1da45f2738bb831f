"""Agreement of predicted emotions, and of clusters, with the raters' labels; two classifiers to compare with."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.scores.intervals import Scores, percentile_interval, resampled_means
from mien.index.gallery.fixed_gallery import FixedGallery
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError

NEIGHBOURS: Final = 11
"""k of the nearest-neighbour classifier, as in the paper."""

FREQUENT: Final = ("neutral", "happiness", "surprise", "sadness", "anger", "fear")
"""The emotions of which FER+ validation has more than a few dozen faces: without disgust and contempt."""

Classifier = Callable[[NDArray[np.float32]], NDArray[np.int64]]


def classification_scores(
    labels: NDArray[np.integer], predicted: NDArray[np.integer], class_names: Sequence[str]
) -> dict[str, Any]:
    """Score predicted classes against labels.

    The macro figures are plain means over the classes that occur in the labels. A class that no label has takes no
    part in them, although a prediction of it still counts as a mistake for the face that got it; a class that was
    never predicted has precision and F1 of 0.

    Args:
        labels: (n,) class indices.
        predicted: (n,) class indices.
        class_names: the c names, in the order of the indices.

    Returns:
        JSON values: ``faces`` (n), ``accuracy``, ``macro_precision``, ``macro_recall`` (balanced accuracy),
        ``macro_f1``, ``normalised_mutual_information`` (2 MI / (H(labels) + H(predictions))), ``recall_per_class``
        (class name to recall, None for a class that no label has), and ``confusion`` (c rows of c counts, row = label,
        column = prediction).

    Raises:
        DatasetError: there is no face, the two differ in length, or a class is not in 0..c-1.
    """
    from sklearn.metrics import confusion_matrix, normalized_mutual_info_score

    _check(labels, predicted, len(class_names))
    confusion = confusion_matrix(labels, predicted, labels=np.arange(len(class_names)))
    figures, recall = _figures(confusion)
    return {
        "faces": labels.size,
        **{name: float(value) for name, value in figures.items()},
        "normalised_mutual_information": float(normalized_mutual_info_score(labels, predicted)),
        "recall_per_class": {
            name: None if np.isnan(value) else float(value) for name, value in zip(class_names, recall, strict=True)
        },
        "confusion": confusion.tolist(),
    }


def score_classification(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], emotions: tuple[str, ...] = EMOTIONS
) -> Scores:
    """Score predicted emotions, with intervals; in addition the mean recall of the frequent emotions.

    Args:
        labels: (n,) indices into ``emotions``.
        predicted: (n,) the same.
        emotions: (c,) names.

    Raises:
        DatasetError: there is no face.
    """
    scores = classification_scores(labels, predicted, emotions)
    count = len(emotions)
    cells = np.eye(count**2, dtype=np.bool_)[labels * count + predicted]  # (n, c * c)
    figures, recall = _figures(resampled_means(cells).reshape(-1, count, count))
    intervals = {name: percentile_interval(values) for name, values in figures.items()}
    for column, (name, value) in enumerate(scores["recall_per_class"].items()):
        if value is not None:
            intervals[f"recall_per_class.{name}"] = percentile_interval(recall[:, column])
    frequent = [emotions.index(name) for name in FREQUENT if scores["recall_per_class"].get(name) is not None]
    scores["macro_recall_frequent"] = mean_recall(scores["recall_per_class"], FREQUENT)
    if frequent:
        intervals["macro_recall_frequent"] = percentile_interval(_mean_without_nan(recall[:, frequent]))
    return scores, intervals


def mean_recall(recall_per_class: Mapping[str, float | None], names: Iterable[str]) -> float | None:
    """Mean recall of the classes of these names that have any; None where none has."""
    recalls = [recall for name in names if (recall := recall_per_class.get(name)) is not None]
    return float(np.mean(recalls)) if recalls else None


def clustering_scores(
    embeddings: NDArray[np.floating], labels: NDArray[np.integer], clusters: int, *, seed: int = 0
) -> dict[str, Any]:
    """Cluster embeddings by K-means, the best of ten starts, and compare the clusters with the labels.

    Args:
        embeddings: (n, d) float.
        labels: (n,) class indices.
        clusters: k.
        seed: of the ten starts.

    Returns:
        JSON values: ``faces``, ``clusters``, ``normalised_mutual_information`` (0 to 1) and ``adjusted_rand_index`` (1
        for the same partition, about 0 for an unrelated one).

    Raises:
        DatasetError: there are fewer faces than clusters, or labels and embeddings differ in length.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    if len(embeddings) != len(labels) or len(embeddings) < clusters:
        raise DatasetError(
            f"clustering needs at least {clusters} faces with one label each, got {len(embeddings)} embeddings "
            f"and {len(labels)} labels"
        )
    assigned = KMeans(clusters, n_init=10, random_state=seed).fit_predict(embeddings)
    return {
        "faces": len(labels),
        "clusters": clusters,
        "normalised_mutual_information": float(normalized_mutual_info_score(labels, assigned)),
        "adjusted_rand_index": float(adjusted_rand_score(labels, assigned)),
    }


def softmax_head(gallery: FixedGallery, emotions: tuple[str, ...] = EMOTIONS) -> Classifier:
    """The baseline: a softmax layer on the same embeddings, fitted on the faces of a gallery."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Without scaling, dimensions of very different spread stall the solver; some losses leave such spaces.
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    head.fit(gallery.embeddings, gallery_labels(gallery, emotions))
    return lambda queries: np.asarray(head.predict(queries), dtype=np.int64)


def nearest_neighbour_vote(
    gallery: FixedGallery, queries: NDArray[np.float32], emotions: tuple[str, ...] = EMOTIONS
) -> NDArray[np.int64]:
    """(q,) the most frequent emotion among the nearest faces; among equally frequent ones, the nearest's."""
    winners = np.empty(len(queries), dtype=np.int64)
    for query, matches in enumerate(gallery.search(queries, NEIGHBOURS)):
        votes = [emotions.index(match.entry.emotion) for match in matches]
        winners[query] = max(votes, key=votes.count)
    return winners


def gallery_labels(gallery: FixedGallery, emotions: tuple[str, ...] = EMOTIONS) -> NDArray[np.int64]:
    """(n,) indices into ``emotions`` of a gallery's faces."""
    return np.array([emotions.index(entry.emotion) for entry in gallery.entries], dtype=np.int64)


def _check(labels: NDArray[np.integer], predicted: NDArray[np.integer], class_count: int) -> None:
    if labels.shape != predicted.shape or labels.ndim != 1 or labels.size == 0:
        raise DatasetError(
            f"expected one label and one prediction per face, got {labels.shape} labels "
            f"and {predicted.shape} predictions"
        )
    for name, classes in (("labels", labels), ("predictions", predicted)):
        if classes.min() < 0 or classes.max() >= class_count:
            raise DatasetError(f"{name} must be from 0 to {class_count - 1}, got {classes.min()} to {classes.max()}")


def _figures(confusion: NDArray[Any]) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """Figures of (..., c, c) confusion counts or shares: (...) arrays by name, and (..., c) recall.

    The recall of a class that does not occur is NaN; the macro figures are means over the other classes.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    label_counts = np.where((counts := confusion.sum(axis=-1)) > 0, counts, np.nan)
    prediction_counts = confusion.sum(axis=-2)
    recall = hits / label_counts
    precision = np.where(np.isnan(recall), np.nan, hits / np.where(prediction_counts > 0, prediction_counts, 1))
    return {
        "accuracy": hits.sum(axis=-1) / confusion.sum(axis=(-2, -1)),
        "macro_precision": _mean_without_nan(precision),
        "macro_recall": _mean_without_nan(recall),
        "macro_f1": _mean_without_nan(2 * hits / (label_counts + prediction_counts)),
    }, recall


def _mean_without_nan(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(...) means over the last axis of (..., m) without NaN; NaN where there is nothing else."""
    present = ~np.isnan(values)
    counts = present.sum(axis=-1)
    sums = np.where(present, values, 0.0).sum(axis=-1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
