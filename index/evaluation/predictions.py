"""Predictions for each labelled face of a data set, and what is computed from them.

These are figures with intervals, figures by groups, and the comparison of two bundles. Intervals are bootstraps over
faces (``mien.index.evaluation.scores.intervals``). Two bundles are compared on the same resampled faces: a paired
bootstrap, as most faces are as hard for one as for the other.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.scores.classification import classification_scores, score_classification
from mien.index.evaluation.scores.intervals import mean_interval, percentile_interval, resampled_means
from mien.index.evaluation.transfer import EmbeddedPhotographs
from mien.index.mixture.mixture import Mixture
from mien.model.datasets.base import LabelledPhotographs
from mien.model.errors import DatasetError

SUBJECT: Final = "subject"

NOT_SAID: Final = "not said"
"""Name of the group of people for whom a column is empty."""

_MAX_NUMBERS: Final = 5
"""A column with more different numbers is split into thirds."""


@dataclass(frozen=True)
class Predictions:
    """The labelled faces of a data set that were found.

    Attributes:
        emotions: (c,) names.
        paths: (n,) the photographs.
        labels: (n,) int64 indices into ``emotions``.
        posteriors: (n, c) float64, under equal priors.
        data_posteriors: (n, c) float64, under the priors of the bundle's training faces.
        typicality: (n,) float64.
        known: (n,) bool.
        embeddings: (n, d) float32.
        metadata: further columns of the data set, and ``subject`` where it is known, each with (n,) texts.
    """

    emotions: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    posteriors: NDArray[np.float64]
    data_posteriors: NDArray[np.float64]
    typicality: NDArray[np.float64]
    known: NDArray[np.bool_]
    embeddings: NDArray[np.float32]
    metadata: Mapping[str, tuple[str, ...]]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the emotions with the nearest centroid."""
        return np.asarray(self.posteriors.argmax(axis=1))

    def columns(self) -> dict[str, NDArray[Any]]:
        """One-dimensional arrays by name, for a table: metadata, prediction, posterior and embedding."""
        return {
            **self._texts(),
            **{f"posterior_{name}": self.posteriors[:, column] for column, name in enumerate(self.emotions)},
            **{f"embedding_{column}": self.embeddings[:, column] for column in range(self.embeddings.shape[1])},
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays by name, for an archive: ``posteriors`` (n, c) and ``embeddings`` (n, d) are whole."""
        return {
            **self._texts(),
            "emotions": np.array(self.emotions),
            "posteriors": self.posteriors,
            "embeddings": self.embeddings,
        }

    def _texts(self) -> dict[str, NDArray[Any]]:
        """What has one value for each face; all metadata but the subject are called ``metadata_`` and their name."""
        names = np.array(self.emotions)
        return {
            "path": np.array(self.paths),
            "label": names[self.labels],
            "prediction": names[self.predicted],
            "typicality": self.typicality,
            "known": self.known,
            **{
                name if name == SUBJECT else f"metadata_{name}": np.array(values)
                for name, values in self.metadata.items()
            },
        }


def predict_photographs(
    mixture: Mixture, photographs: LabelledPhotographs, embedded: EmbeddedPhotographs
) -> Predictions:
    """The predictions of a mixture.

    Args:
        mixture: of the bundle.
        photographs: the data set; its emotions are the mixture's, in any order.
        embedded: its faces.
    """
    found = photographs.take(embedded.rows)
    order = [mixture.emotions.index(name) for name in found.emotions]
    typicality = mixture.typicality(embedded.embeddings)
    subjects = {} if found.subjects is None else {SUBJECT: found.subjects}
    return Predictions(
        found.emotions,
        tuple(str(path) for path in found.paths),
        found.labels,
        mixture.posterior(embedded.embeddings)[:, order],
        mixture.posterior(embedded.embeddings, "data")[:, order],
        typicality,
        typicality >= mixture.min_typicality,
        embedded.embeddings,
        {**found.metadata, **subjects},
    )


def figures(predictions: Predictions) -> dict[str, Any]:
    """Figures with their 95 % intervals, each as ``[value, low, high]``.

    Returns:
        JSON values: ``accuracy``, ``balanced_accuracy`` (the mean recall over the emotions that have faces), ``recall``
        and ``faces`` by emotion; ``auroc`` by emotion and ``mean_auroc``, of the posterior for one emotion against the
        others, which neither priors nor thresholds change; and ``accuracy_data_prior``, with the priors of the bundle's
        training faces in place of equal ones.
    """
    scores, intervals = score_classification(predictions.labels, predictions.predicted, predictions.emotions)
    recall = {
        name: [value, *intervals[f"recall_per_class.{name}"]]
        for name, value in scores["recall_per_class"].items()
        if value is not None
    }
    auroc = {
        name: value
        for column, name in enumerate(predictions.emotions)
        if (value := _auroc(predictions.labels == column, predictions.posteriors[:, column])) is not None
    }
    hits = predictions.data_posteriors.argmax(axis=1) == predictions.labels
    return {
        "accuracy": [scores["accuracy"], *intervals["accuracy"]],
        "balanced_accuracy": [scores["macro_recall"], *intervals["macro_recall"]],
        "accuracy_data_prior": [float(hits.mean()), *mean_interval(hits)],
        "recall": recall,
        "faces": {name: int((predictions.labels == predictions.emotions.index(name)).sum()) for name in recall},
        "auroc": auroc,
        "mean_auroc": float(np.mean(list(auroc.values()))) if auroc else None,
    }


def figures_by(predictions: Predictions, column: str) -> list[dict[str, Any]]:
    """Accuracy and balanced accuracy of each group of a column, with intervals; many numbers make three groups.

    Subjects are names even where they are numbers.

    Raises:
        DatasetError: the data set has no such column.
    """
    if column not in predictions.metadata:
        raise DatasetError(
            f"the column must be one of {', '.join(predictions.metadata) or '(there is none)'}, got {column!r}"
        )
    values = predictions.metadata[column]
    names = np.array(values if column == SUBJECT else group_names(values))
    groups = []
    for name in sorted(set(names.tolist())):
        rows = names == name
        scores, intervals = score_classification(
            predictions.labels[rows], predictions.predicted[rows], predictions.emotions
        )
        groups.append(
            {
                "group": name,
                "faces": int(rows.sum()),
                "accuracy": [scores["accuracy"], *intervals["accuracy"]],
                "balanced_accuracy": [scores["macro_recall"], *intervals["macro_recall"]],
            }
        )
    return groups


def group_names(values: Sequence[str]) -> list[str]:
    """The group of each value of a column: the value or, for many different numbers, one of three ranges."""
    numbers = [float(value) for value in values if _is_number(value)]
    filled = [value for value in values if value]
    if len(numbers) < len(filled) or len(set(numbers)) <= _MAX_NUMBERS:
        return [value or NOT_SAID for value in values]
    first, second = (math.ceil(cut) for cut in np.quantile(numbers, (1 / 3, 2 / 3)).tolist())
    names = (f"under {first}", f"{first} to {second - 1}", f"{second} and over")
    return [NOT_SAID if not value else names[(float(value) >= first) + (float(value) >= second)] for value in values]


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def compare(one: Predictions, other: Predictions) -> dict[str, Any]:
    """How much better one bundle is than another on the faces that both have.

    Returns:
        JSON values: ``faces``; and for ``accuracy`` and ``balanced_accuracy`` each ``one``, ``other``, ``difference``
        as ``[value, low, high]``, and ``resamples_better``, the share of the resamples in which ``one`` is better.

    Raises:
        DatasetError: their emotions differ, or they share no face.
    """
    if set(one.emotions) != set(other.emotions):
        raise DatasetError(
            f"two bundles are compared on the same emotions, got {', '.join(one.emotions)} and "
            f"{', '.join(other.emotions)}"
        )
    place = {path: row for row, path in enumerate(other.paths)}
    pairs = [(row, place[path]) for row, path in enumerate(one.paths) if path in place]
    if not pairs:
        raise DatasetError("the two bundles have no face of the data set in common")
    rows, other_rows = np.array(pairs).T
    order = np.array([one.emotions.index(name) for name in other.emotions])
    labels, count = one.labels[rows], len(one.emotions)
    both = (one.predicted[rows], order[other.predicted[other_rows]])
    cells = np.concatenate([np.eye(count**2, dtype=np.bool_)[labels * count + each] for each in both], axis=1)
    resampled = resampled_means(cells).reshape(-1, 2, count, count)
    scores = [classification_scores(labels, each, one.emotions) for each in both]
    compared: dict[str, Any] = {"faces": len(rows)}
    hits = np.diagonal(resampled, axis1=-2, axis2=-1)  # (r, 2, c)
    totals = resampled.sum(axis=-1)
    recall = np.divide(hits, totals, out=np.full(hits.shape, np.nan), where=totals > 0)
    for name, key, values in (
        ("accuracy", "accuracy", hits.sum(axis=-1)),
        ("balanced_accuracy", "macro_recall", np.nanmean(recall, axis=-1)),
    ):
        differences = values[:, 0] - values[:, 1]
        difference = scores[0][key] - scores[1][key]
        compared[name] = {
            "one": scores[0][key],
            "other": scores[1][key],
            "difference": [difference, *percentile_interval(differences)],
            "resamples_better": float((differences > 0).mean()),
        }
    return compared


def _auroc(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    """Area under the ROC curve; None where there are not both kinds."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, scores)) if positive.any() and not positive.all() else None
