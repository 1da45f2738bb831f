"""Recognition: how well emotions are named and how far their posteriors can be believed, with intervals."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.calibration import calibration_scores, divergences, squared_errors
from mien.index.evaluation.classification import classification_scores
from mien.index.evaluation.intervals import Scored, basic_interval, mean_interval, percentile_interval, resampled_means
from mien.index.evaluation.reliability import signed_gaps
from mien.index.gallery.gallery import Gallery
from mien.model.emotions import EMOTIONS

NEIGHBOURS: Final = 11
"""k of the nearest-neighbour classifier, as in the paper."""

FREQUENT: Final = ("neutral", "happiness", "surprise", "sadness", "anger", "fear")
"""The emotions of which FER+ validation has more than a few dozen faces: without disgust and contempt."""

Classifier = Callable[[NDArray[np.float32]], NDArray[np.int64]]


def naming(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> Scored:
    """Score predicted emotions.

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
    labelled, claimed = confusion.sum(axis=2)[:, occurs], confusion.sum(axis=1)[:, occurs]
    # Draws that miss a class have no recall for it; as for the scores themselves, a macro figure is over the rest.
    seen = np.where(labelled > 0, labelled, np.nan)
    recall, precision = hits / seen, hits / np.where(claimed > 0, claimed, 1.0) + 0 * seen
    f1 = 2 * hits / (seen + claimed)
    names = [name for name, present in zip(EMOTIONS, occurs, strict=True) if present]
    intervals = {
        "accuracy": percentile_interval(hits.sum(axis=1)),
        "macro_precision": percentile_interval(_mean_of_numbers(precision)),
        "macro_recall": percentile_interval(_mean_of_numbers(recall)),
        "macro_f1": percentile_interval(_mean_of_numbers(f1)),
        **{
            f"recall_per_class.{name}": percentile_interval(column)
            for name, column in zip(names, recall.T, strict=True)
        },
    }
    frequent = [column for column, name in enumerate(names) if name in FREQUENT]
    if frequent:
        intervals["macro_recall_frequent"] = percentile_interval(_mean_of_numbers(recall[:, frequent]))
    return scores, intervals


def believing(posterior: NDArray[np.float64], labels: NDArray[np.int64], votes: NDArray[np.floating]) -> Scored:
    """Score posteriors.

    Args:
        posterior: (n, 8) rows that sum to 1.
        labels: (n,) indices into ``EMOTIONS``.
        votes: (n, 8) shares of the raters' votes.

    Raises:
        DatasetError: there is no face.
    """
    scores = asdict(calibration_scores(posterior, labels, votes))
    gaps = np.abs(resampled_means(signed_gaps(posterior, labels))).sum(axis=1)
    return scores, {
        "expected_calibration_error": basic_interval(scores["expected_calibration_error"], gaps, lowest=0.0),
        "brier_score": mean_interval(squared_errors(posterior, votes)),
        "kl_divergence": mean_interval(divergences(posterior, votes)),
    }


def agreeing(shares: NDArray[np.float64], votes: NDArray[np.floating]) -> Scored:
    """Score (n, 8) expected splits of the votes against (n, 8) the shares of the raters' votes."""
    squares, kl = squared_errors(shares, votes), divergences(shares, votes)
    scores = {"brier_score": float(squares.mean()), "kl_divergence": float(kl.mean())}
    return scores, {"brier_score": mean_interval(squares), "kl_divergence": mean_interval(kl)}


def softmax_head(gallery: Gallery) -> Classifier:
    """The baseline: a softmax layer on the same embeddings, fitted on the faces of a gallery."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Dimensions of very different spread, as a loss without a scale of its own leaves them, would stall the solver.
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    head.fit(gallery.embeddings, labels_of(gallery))
    return lambda queries: np.asarray(head.predict(queries), dtype=np.int64)


def vote_of_neighbours(gallery: Gallery, queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """(q,) the most frequent emotion among the nearest faces; among equally frequent ones, the nearest's."""
    voted = np.empty(len(queries), dtype=np.int64)
    for query, matches in enumerate(gallery.search(queries, NEIGHBOURS)):
        names = [EMOTIONS.index(match.entry.emotion) for match in matches]
        voted[query] = max(names, key=names.count)
    return voted


def labels_of(gallery: Gallery) -> NDArray[np.int64]:
    """(n,) indices into ``EMOTIONS`` of a gallery's faces."""
    return np.array([EMOTIONS.index(entry.emotion) for entry in gallery.entries], dtype=np.int64)


def _mean_of_numbers(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(r,) means of the rows of (r, m), without what is NaN; NaN where nothing is left."""
    numbers = ~np.isnan(values)
    counts = numbers.sum(axis=1)
    sums = np.where(numbers, values, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
