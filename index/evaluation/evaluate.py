"""Evaluation: the metrics of the protocol, through the very objects that are served.

The embedder, the mixture and the gallery of a bundle are asked as the service asks them. Centroids come from
Training, near copies of Training are left out of validation, and near copies of a query are masked. Where the bundle
was calibrated on the very faces that it is scored on, what was fitted there is fitted anew across folds, beside the
figures as served.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle
from mien.index.evaluation.clustering import clustering_scores
from mien.index.evaluation.held_out import HeldOutFaces
from mien.index.evaluation.intervals import Scored, gathered, mean_interval
from mien.index.evaluation.outliers import COUNT, NonFaces, rehearsed, unrehearsed
from mien.index.evaluation.recognition import (
    Classifier,
    agreeing,
    believing,
    labels_of,
    naming,
    softmax_head,
    vote_of_neighbours,
)
from mien.index.evaluation.rejection import TypicalityOfKind, rejecting
from mien.index.evaluation.retrieval import ranking
from mien.index.evaluation.summary import INTERVALS, markdown
from mien.index.fitting.calibrate import (
    cross_fitted_posterior,
    cross_fitted_typicality,
    cross_fitted_vote_shares,
)
from mien.index.gallery.gallery import Entry, Gallery
from mien.index.mixture.mixture import posterior_from
from mien.model.datasets.ferplus import LabelledFaces, NearCopies
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import EMOTIONS, UNLABELLED, distribution, labels
from mien.model.errors import DatasetError

SCORES_NAME: Final = "scores.json"
TABLE_NAME: Final = "scores.md"

NON_FACES_SEED: Final = 0
"""Decides the non-faces; other ones than the background was fitted on."""

Report = Callable[[str], None]


def evaluate(
    bundle: Bundle,
    embedder: Embedder,
    faces: LabelledFaces,
    near_copies: NearCopies,
    dataset: str,
    *,
    non_faces_of_each_kind: int = COUNT,
    on_stage: Report = lambda _: None,
    on_progress: Callable[[int, int], None] = lambda _, __: None,
) -> tuple[dict[str, Any], NDArray[np.float32], NDArray[np.int64]]:
    """Score a bundle on faces that its network was not trained on.

    Args:
        bundle: what is scored.
        embedder: of the bundle.
        faces: such as FER+ validation.
        near_copies: which of them have near copies, and where.
        dataset: its name, for the report; where the bundle was calibrated on a data set of this name, figures that
            depend on the calibration are also cross-fitted.
        non_faces_of_each_kind: how many pictures rejection is measured on.
        on_stage: called with the name of each stage as it begins.
        on_progress: called with the number of faces embedded and their total, in the stages that embed.

    Returns:
        The scores (JSON values), the embeddings (n, d) of the faces with a strict majority and their labels (n,).

    Raises:
        DatasetError: no face has a strict majority of votes.
    """
    kept = near_copies.without_leaks(faces)
    majority = labels(kept.votes, "majority")
    clear = majority != UNLABELLED
    if not clear.any():
        raise DatasetError(f"{dataset} has no face with a strict majority of votes")
    calibrated_on = (bundle.manifest.calibration or {}).get("dataset")

    on_stage("embedding")
    embeddings = embedder.embed(kept.images, on_progress)
    clear_faces = kept.take(clear)
    groups = near_copies.groups_of(clear_faces.names)
    seen = HeldOutFaces(embeddings[clear], majority[clear], distribution(clear_faces.votes), groups)

    on_stage("classification and calibration")
    baseline = softmax_head(bundle.gallery)
    parts = {
        "majority": _recognition(bundle, baseline, seen, cross_fit=calibrated_on == dataset),
        "argmax": _argmax(bundle, baseline, embeddings, kept.votes),
    }
    on_stage("clustering")
    parts["clustering"] = asdict(clustering_scores(seen.embeddings, seen.labels, len(EMOTIONS))), {}
    on_stage("retrieval, leave-one-out")
    entries = [Entry(name, EMOTIONS[label], {}) for name, label in zip(clear_faces.names, seen.labels, strict=True)]
    rows = np.arange(len(seen.labels))
    parts["retrieval_leave_one_out"] = ranking(
        Gallery(entries, seen.embeddings), seen.labels, groups, seen, query_rows=rows
    )
    on_stage("retrieval from the Training gallery")
    shipped = bundle.gallery
    shipped_groups = near_copies.groups_of(tuple(f"{entry.id}.png" for entry in shipped.entries))
    parts["retrieval_from_training"] = ranking(shipped, labels_of(shipped), shipped_groups, seen)
    on_stage("rejection")
    others = rehearsed(clear_faces.images, NON_FACES_SEED, count=non_faces_of_each_kind)
    others += unrehearsed(embedder.side_px, NON_FACES_SEED, count=non_faces_of_each_kind)
    strange = embedder.embed(np.concatenate([each.crops for each in others]), on_progress)
    parts["rejection"] = _rejection(bundle, strange, others, seen, cross_fit=calibrated_on == dataset)

    scores, intervals = gathered(parts)
    return (
        {
            "dataset": dataset,
            "faces": len(faces),
            "near_copies_of_training_left_out": len(faces) - len(kept),
            "calibrated_on": calibrated_on,
            **scores,
            INTERVALS: {path: list(interval) for path, interval in intervals.items()},
        },
        seen.embeddings,
        seen.labels,
    )


def save_scores(folder: Path, scores: dict[str, Any]) -> Path:
    """Write ``scores.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SCORES_NAME
    path.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    return path


def save_table(folder: Path, scores: dict[str, Any]) -> Path:
    """Write the figures of the protocol into ``folder`` as ``scores.md``, for the model card."""
    path = folder / TABLE_NAME
    path.write_text(markdown(scores) + "\n", encoding="utf-8")
    return path


def save_plots(
    folder: Path,
    bundle: Bundle,
    scores: dict[str, Any],
    embeddings: NDArray[np.float32],
    face_labels: NDArray[np.int64],
) -> None:
    """Write the confusion matrix, the reliability diagram, the map of the embedding and portraits into ``folder``."""
    from mien.index.evaluation import plots
    from mien.index.evaluation.portrait_sheet import write_portrait_sheet
    from mien.index.evaluation.reliability import ReliabilityBin

    clear = scores["majority"]
    plots.confusion_matrix(folder / "confusion.png", clear["nearest_centroid"]["confusion"], EMOTIONS)
    cross_fitted = clear.get("calibration_cross_fitted")
    shown = cross_fitted or clear["calibration"]
    plots.reliability_diagram(
        folder / "reliability.png",
        [ReliabilityBin(**each) for each in shown["bins"]],
        shown["expected_calibration_error"],
        note="sigma fitted on other folds of these faces" if cross_fitted else "as served",
    )
    plots.embedding_map(
        folder / "map.png",
        embeddings,
        face_labels,
        centroids=bundle.mixture.centroids,
        covariances=bundle.mixture.covariances,
        names=EMOTIONS,
    )
    if bundle.portraits_path is not None:
        write_portrait_sheet(folder / "portraits.png", bundle)


def _recognition(bundle: Bundle, baseline: Classifier, faces: HeldOutFaces, *, cross_fit: bool) -> Scored:
    mixture = bundle.mixture
    points, wanted, votes = faces.embeddings, faces.labels, faces.votes
    posterior = mixture.posterior(points)
    parts = {
        "nearest_centroid": naming(wanted, posterior.argmax(axis=1)),
        "nearest_neighbours": naming(wanted, vote_of_neighbours(bundle.gallery, points)),
        "softmax_head": naming(wanted, baseline(points)),
        "calibration": believing(posterior, wanted, votes),
        "vote_shares": agreeing(mixture.vote_shares(points), votes),
    }
    if mixture.calibration is not None:
        before = posterior_from(mixture.distances(points), mixture.trained_sigma)
        parts["calibration_trained_sigma"] = believing(before, wanted, votes)
    if cross_fit:
        parts["calibration_cross_fitted"] = believing(cross_fitted_posterior(mixture, faces), wanted, votes)
        parts["vote_shares_cross_fitted"] = agreeing(cross_fitted_vote_shares(mixture, faces), votes)
    return gathered(parts)


def _argmax(bundle: Bundle, baseline: Classifier, embeddings: NDArray[np.float32], votes: NDArray[np.int64]) -> Scored:
    """Faces whose raters chose one emotion most, if not by a majority: what papers report that leave none out."""
    face_labels = labels(votes, "argmax")
    rows = np.flatnonzero(face_labels != UNLABELLED)
    points, wanted = embeddings[rows], face_labels[rows]
    posterior = bundle.mixture.posterior(points)
    return gathered(
        {
            "nearest_centroid": naming(wanted, posterior.argmax(axis=1)),
            "nearest_neighbours": naming(wanted, vote_of_neighbours(bundle.gallery, points)),
            "softmax_head": naming(wanted, baseline(points)),
            "calibration": believing(posterior, wanted, distribution(votes[rows])),
            "vote_shares": agreeing(bundle.mixture.vote_shares(points), distribution(votes[rows])),
        }
    )


def _rejection(
    bundle: Bundle, strange: NDArray[np.float32], others: list[NonFaces], faces: HeldOutFaces, *, cross_fit: bool
) -> Scored:
    mixture = bundle.mixture
    parts = np.split(mixture.typicality(strange), np.cumsum([len(each.crops) for each in others])[:-1])
    kinds = [TypicalityOfKind(each.kind, part, each.rehearsed) for each, part in zip(others, parts, strict=True)]
    typical = mixture.typicality(faces.embeddings)
    scores, intervals = rejecting(typical, kinds, mixture.min_typicality)
    known = typical >= mixture.min_typicality
    scores["faces_kept_per_emotion"] = {
        name: float(known[faces.labels == label].mean()) if (faces.labels == label).any() else None
        for label, name in enumerate(EMOTIONS)
    }
    if cross_fit:
        kept = cross_fitted_typicality(mixture, faces) >= mixture.min_typicality
        scores["faces_kept_cross_fitted"] = float(kept.mean())
        intervals["faces_kept_cross_fitted"] = mean_interval(kept)
    return scores, intervals
