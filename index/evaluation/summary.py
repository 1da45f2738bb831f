"""The summary of an evaluation: the figures of the protocol, by name, with their intervals."""

from typing import Any, Final, NamedTuple

from mien.index.evaluation.scores.intervals import Interval
from mien.index.evaluation.scores.retrieval import RECALL_DEPTHS

INTERVALS: Final = "intervals"
"""Key of the intervals in the scores; they are by path of their figure."""

_MAJORITY: Final = (
    ("accuracy, nearest centroid", "nearest_centroid.accuracy"),
    ("accuracy, 11 nearest neighbours", "nearest_neighbours.accuracy"),
    ("accuracy, softmax head on the embedding", "softmax_head.accuracy"),
    ("macro precision", "nearest_centroid.macro_precision"),
    ("macro recall", "nearest_centroid.macro_recall"),
    ("macro recall, six frequent emotions", "nearest_centroid.macro_recall_frequent"),
    ("macro F1", "nearest_centroid.macro_f1"),
)

_RETRIEVAL: Final = (
    *((f"recall@{k}", f"recall_at_{k}") for k in RECALL_DEPTHS),
    ("precision@10", "precision_at_10"),
    ("mAP", "mean_average_precision"),
    ("mAP@R", "mean_average_precision_at_r"),
)

_CALIBRATION: Final = (
    ("calibration error, cross-fitted", "calibration_cross_fitted.expected_calibration_error"),
    ("calibration error, as served", "calibration.expected_calibration_error"),
    (
        "calibration error, cross-fitted, prior of the data",
        "calibration_data_prior_cross_fitted.expected_calibration_error",
    ),
    ("calibration error, training sigma", "calibration_trained_sigma.expected_calibration_error"),
    ("calibration error that chance leaves", "calibration.chance_calibration_error"),
    ("Brier score of the posterior against the votes", "calibration.brier_score"),
    ("KL divergence of the posterior from the votes", "calibration.kl_divergence"),
    ("KL divergence of expected votes, cross-fitted", "vote_shares_cross_fitted.kl_divergence"),
    ("KL divergence of expected votes, as served", "vote_shares.kl_divergence"),
)

_REJECTION: Final = (
    ("AUROC, faces against all kinds of outliers", "auroc"),
    ("AUROC, faces against the unseen kinds", "auroc_unseen"),
    ("faces kept, cross-fitted", "faces_kept_cross_fitted"),
    ("faces kept, as served", "faces_kept"),
    ("outliers rejected, mean of all kinds", "outliers_rejected"),
)

_PHOTOGRAPHS: Final = (
    ("faces found", "found"),
    ("accuracy", "all_emotions.accuracy"),
    ("recall of the frequent emotions", "all_emotions.recall_of_frequent"),
    ("recall@1, leave-one-out", "retrieval_leave_one_out.recall_at_1"),
    ("mAP, leave-one-out", "retrieval_leave_one_out.mean_average_precision"),
)
"""Scores of ``mien evaluate --world`` and ``--studio``."""

_FORMER_PATHS: Final = {
    "rejection.auroc_unseen": "rejection.auroc_unrehearsed",
    "rejection.outliers_rejected": "rejection.non_faces_rejected",
}
"""Names of these figures in older manifests."""


class Figure(NamedTuple):
    """A figure of the summary.

    Attributes:
        name: in words.
        value: the score.
        interval: 95 % confidence over the choice of faces; None where there is none.
    """

    name: str
    value: float
    interval: Interval | None


def headline(scores: dict[str, Any]) -> list[Figure]:
    """The figures of the protocol, without those that the scores lack, as for a class without faces."""
    recalls = "nearest_centroid.recall_per_class"
    of_emotions = scores["majority"]["nearest_centroid"]["recall_per_class"]
    paths = [
        *((name, f"majority.{path}") for name, path in _MAJORITY),
        *((f"recall, {emotion}", f"majority.{recalls}.{emotion}") for emotion in of_emotions),
        ("accuracy, prior of the data", "majority.data_prior.accuracy"),
        ("macro recall, six frequent emotions, prior of the data", "majority.data_prior.macro_recall_frequent"),
        ("NMI of labels and predictions", "majority.nearest_centroid.normalised_mutual_information"),
        ("accuracy, nearest centroid, argmax protocol", "argmax.nearest_centroid.accuracy"),
        ("accuracy, FER2013's own seven labels", "fer2013_labels.all.accuracy"),
        ("the same without near copies of Training", "fer2013_labels.without_near_copies.accuracy"),
        ("macro recall, FER2013's own seven labels", "fer2013_labels.all.macro_recall"),
        ("K-means NMI", "clustering.normalised_mutual_information"),
        ("K-means ARI", "clustering.adjusted_rand_index"),
        *((f"{name}, leave-one-out", f"retrieval_leave_one_out.{path}") for name, path in _RETRIEVAL),
        *((f"{name}, from Training", f"retrieval_from_training.{path}") for name, path in _RETRIEVAL),
        *((name, f"majority.{path}") for name, path in _CALIBRATION),
        *((name, f"rejection.{path}") for name, path in _REJECTION),
        *((f"AUROC, faces against {kind}", f"rejection.kinds.{kind}.auroc") for kind in scores["rejection"]["kinds"]),
    ]
    paths += [(f"photographs of the world: {name}", f"world.{path}") for name, path in _PHOTOGRAPHS]
    paths += [
        (f"photographs of the world: recall, {emotion}", f"world.all_emotions.recall_per_class.{emotion}")
        for emotion in scores.get("world", {}).get("frequent_emotions", ())
    ]
    paths += [(f"studio photographs: {name}", f"studio.{path}") for name, path in _PHOTOGRAPHS]
    intervals = scores[INTERVALS]
    figures = []
    for name, path in paths:
        place = path if _at(scores, path) is not None else _FORMER_PATHS.get(path, path)
        value = _at(scores, place)
        if value is not None:
            figures.append(Figure(name, value, Interval(*intervals[place]) if place in intervals else None))
    return figures


def markdown(scores: dict[str, Any]) -> str:
    """The figures as a Markdown table, without a line break at its end."""
    rows = [
        f"| {name} | {value:.4f} | {f'[{interval.low:.4f}, {interval.high:.4f}]' if interval else ''} |"
        for name, value, interval in headline(scores)
    ]
    return "\n".join(["| figure | value | 95 % interval |", "|---|---|---|", *rows])


def _at(scores: dict[str, Any], path: str) -> float | None:
    found: Any = scores
    for name in path.split("."):
        found = found.get(name) if found is not None else None
    return None if found is None else float(found)
