"""``mien evaluate``: the metrics of the protocol, computed with the embedder, mixture and gallery that are served.

Centroids come from Training, near copies of Training are left out of validation, and near copies of a query are
masked. Where the bundle was calibrated on the faces that it is scored on, the figures that depend on the calibration
are reported as served and cross-fitted.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle
from mien.index.evaluation.held_out import (
    HeldOutFaces,
    cross_fitted_posterior,
    cross_fitted_typicality,
    cross_fitted_vote_shares,
    held_out_faces,
)
from mien.index.evaluation.outliers import COUNT, Outliers, seen_outliers, unseen_outliers
from mien.index.evaluation.scores.calibration import ReliabilityBin, score_calibration, score_vote_shares
from mien.index.evaluation.scores.classification import (
    Classifier,
    clustering_scores,
    gallery_labels,
    nearest_neighbour_vote,
    score_classification,
    softmax_head,
)
from mien.index.evaluation.scores.intervals import Scores, join_scores, mean_interval
from mien.index.evaluation.scores.rejection import score_rejection
from mien.index.evaluation.scores.retrieval import score_retrieval
from mien.index.evaluation.summary import INTERVALS, markdown
from mien.index.gallery.fixed_gallery import Entry, FixedGallery
from mien.index.mixture.mixture import posterior_from
from mien.model.datasets.ferplus import LabelledFaces, NearCopies
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import EMOTIONS, UNLABELLED, distribution, labels
from mien.model.errors import DatasetError

FER2013_EMOTIONS: Final = frozenset(EMOTIONS) - {"contempt"}
"""The seven labels of FER2013."""

SCORES_NAME: Final = "scores.json"
TABLE_NAME: Final = "scores.md"

OUTLIER_SEED: Final = 0
"""Seed of the outliers to measure on; not that of those that the background was fitted on."""


def evaluate(
    bundle: Bundle,
    embedder: Embedder,
    faces: LabelledFaces,
    near_copies: NearCopies,
    dataset: str,
    *,
    outliers_of_each_kind: int = COUNT,
    on_stage: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[int, int], None] = lambda _, __: None,
) -> tuple[dict[str, Any], NDArray[np.float32], NDArray[np.int64]]:
    """Score a bundle on faces that its network was not trained on.

    Args:
        bundle: to score.
        embedder: of the bundle.
        faces: such as FER+ validation.
        near_copies: of these faces and of the gallery's.
        dataset: name of the data set, for the report; where the bundle was calibrated on a data set of this name,
            figures that depend on the calibration are also cross-fitted.
        outliers_of_each_kind: how many rejection is measured on.
        on_stage: called with the name of each stage as it begins.
        on_progress: called with the number of faces embedded and their total, in the stages that embed.

    Returns:
        The scores (JSON values), the embeddings (n, d) of the faces with a strict majority and their labels (n,).

    Raises:
        DatasetError: no face has a strict majority of votes.
    """
    emotions = bundle.mixture.emotions
    whole = faces.of(emotions)
    is_kept = np.array([name not in near_copies.leaks for name in whole.names], dtype=np.bool_)
    kept = whole.take(is_kept)
    majority = labels(kept.votes, "majority")
    clear = majority != UNLABELLED
    if not clear.any():
        raise DatasetError(f"{dataset} must have a face with a strict majority of votes, got none")
    calibrated_on = (bundle.manifest.calibration or {}).get("dataset")

    on_stage("embedding")
    every_embedding = embedder.embed(whole.images, on_progress)
    embeddings = every_embedding[is_kept]
    clear_faces = kept.take(clear)
    held_out = held_out_faces(clear_faces, embeddings[clear], near_copies)

    on_stage("classification and calibration")
    baseline = softmax_head(bundle.gallery, emotions)
    parts = {
        "majority": _majority(bundle, baseline, held_out, cross_fit=calibrated_on == dataset),
        "argmax": _argmax(bundle, baseline, embeddings, kept.votes),
    }
    if whole.opinions is not None and (whole.opinions != UNLABELLED).any():
        parts["fer2013_labels"] = join_scores(
            {
                "all": _fer2013_labels(bundle, every_embedding, whole.opinions),
                "without_near_copies": _fer2013_labels(bundle, embeddings, whole.opinions[is_kept]),
            }
        )
    on_stage("clustering")
    parts["clustering"] = clustering_scores(held_out.embeddings, held_out.labels, len(emotions)), {}
    on_stage("retrieval, leave-one-out")
    entries = [Entry(name, emotions[label], {}) for name, label in zip(clear_faces.names, held_out.labels, strict=True)]
    parts["retrieval_leave_one_out"] = score_retrieval(
        FixedGallery(entries, held_out.embeddings),
        held_out.labels,
        held_out.groups,
        held_out,
        query_rows=np.arange(len(entries)),
        emotions=emotions,
    )
    on_stage("retrieval from the Training gallery")
    shipped = bundle.gallery
    shipped_groups = near_copies.groups_of(tuple(f"{entry.id}.png" for entry in shipped.entries))
    parts["retrieval_from_training"] = score_retrieval(
        shipped, gallery_labels(shipped, emotions), shipped_groups, held_out, emotions=emotions
    )
    on_stage("rejection")
    outliers = seen_outliers(clear_faces.images, OUTLIER_SEED, count=outliers_of_each_kind)
    outliers += unseen_outliers(embedder.side_px, OUTLIER_SEED, count=outliers_of_each_kind)
    points = embedder.embed(np.concatenate([each.crops for each in outliers]), on_progress)
    parts["rejection"] = _rejection(bundle, points, outliers, held_out, cross_fit=calibrated_on == dataset)

    scores, intervals = join_scores(parts)
    return (
        {
            "dataset": dataset,
            "faces": len(faces),
            "near_copies_of_training_left_out": len(faces) - len(kept),
            "calibrated_on": calibrated_on,
            **scores,
            INTERVALS: {path: list(interval) for path, interval in intervals.items()},
        },
        held_out.embeddings,
        held_out.labels,
    )


def save_scores(folder: Path, scores: dict[str, Any]) -> Path:
    """Write ``scores.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SCORES_NAME
    path.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    return path


def save_table(folder: Path, scores: dict[str, Any]) -> Path:
    """Write the summary into ``folder`` as ``scores.md``, a table for the model card."""
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
    from mien.index.evaluation.sheets import write_portrait_sheet

    majority = scores["majority"]
    plots.confusion_matrix(folder / "confusion.png", majority["nearest_centroid"]["confusion"], bundle.mixture.emotions)
    cross_fitted = majority.get("calibration_cross_fitted")
    calibration = cross_fitted or majority["calibration"]
    plots.reliability_diagram(
        folder / "reliability.png",
        [ReliabilityBin(**each) for each in calibration["bins"]],
        calibration["expected_calibration_error"],
        note="sigma fitted on other folds of these faces" if cross_fitted else "as served",
    )
    plots.embedding_map(
        folder / "map.png",
        embeddings,
        face_labels,
        centroids=bundle.mixture.centroids,
        covariances=bundle.mixture.covariances,
        names=bundle.mixture.emotions,
    )
    if bundle.portraits_path is not None:
        write_portrait_sheet(folder / "portraits.png", bundle)


def _majority(bundle: Bundle, baseline: Classifier, faces: HeldOutFaces, *, cross_fit: bool) -> Scores:
    """Classification and calibration on the faces with a strict majority."""
    mixture = bundle.mixture
    points, wanted, votes = faces.embeddings, faces.labels, faces.votes
    parts = _classification_and_calibration(bundle, baseline, points, wanted, votes)
    under_data = mixture.posterior(points, "data")
    parts["data_prior"] = score_classification(wanted, under_data.argmax(axis=1))
    parts["calibration_data_prior"] = score_calibration(under_data, wanted, votes)
    if mixture.calibration is not None:
        trained = posterior_from(mixture.distances(points), mixture.trained_sigma)
        parts["calibration_trained_sigma"] = score_calibration(trained, wanted, votes)
    if cross_fit:
        parts["calibration_cross_fitted"] = score_calibration(cross_fitted_posterior(mixture, faces), wanted, votes)
        parts["calibration_data_prior_cross_fitted"] = score_calibration(
            cross_fitted_posterior(mixture, faces, "data"), wanted, votes
        )
        parts["vote_shares_cross_fitted"] = score_vote_shares(cross_fitted_vote_shares(mixture, faces), votes)
    return join_scores(parts)


def _argmax(bundle: Bundle, baseline: Classifier, embeddings: NDArray[np.float32], votes: NDArray[np.int64]) -> Scores:
    """The same on all faces with one most frequent emotion, as papers report that leave out no face."""
    face_labels = labels(votes, "argmax")
    rows = np.flatnonzero(face_labels != UNLABELLED)
    return join_scores(
        _classification_and_calibration(
            bundle, baseline, embeddings[rows], face_labels[rows], distribution(votes[rows])
        )
    )


def _fer2013_labels(bundle: Bundle, points: NDArray[np.float32], opinions: NDArray[np.int64]) -> Scores:
    """Classification by FER2013's seven labels, as published figures on FER2013 are: the nearest of seven centroids.

    Args:
        bundle: to score.
        points: (n, d) embeddings.
        opinions: (n,) FER2013's labels as indices into the bundle's emotions, or ``UNLABELLED``.
    """
    emotions = bundle.mixture.emotions
    seven = [column for column, name in enumerate(emotions) if name in FER2013_EMOTIONS]
    rows = np.flatnonzero(np.isin(opinions, seven))
    nearest = bundle.mixture.distances(points[rows])[:, seven].argmin(axis=1)
    return score_classification(
        np.searchsorted(seven, opinions[rows]), nearest, tuple(emotions[column] for column in seven)
    )


def _classification_and_calibration(
    bundle: Bundle,
    baseline: Classifier,
    points: NDArray[np.float32],
    wanted: NDArray[np.int64],
    votes: NDArray[np.float32],
) -> dict[str, Scores]:
    posterior, emotions = bundle.mixture.posterior(points), bundle.mixture.emotions
    neighbours = nearest_neighbour_vote(bundle.gallery, points, emotions)
    return {
        "nearest_centroid": score_classification(wanted, posterior.argmax(axis=1), emotions),
        "nearest_neighbours": score_classification(wanted, neighbours, emotions),
        "softmax_head": score_classification(wanted, baseline(points), emotions),
        "calibration": score_calibration(posterior, wanted, votes),
        "vote_shares": score_vote_shares(bundle.mixture.vote_shares(points), votes),
    }


def _rejection(
    bundle: Bundle, points: NDArray[np.float32], outliers: list[Outliers], faces: HeldOutFaces, *, cross_fit: bool
) -> Scores:
    mixture = bundle.mixture
    parts = np.split(mixture.typicality(points), np.cumsum([len(each.crops) for each in outliers])[:-1])
    kinds = {each.kind: part for each, part in zip(outliers, parts, strict=True)}
    seen = {each.kind for each in outliers if each.seen}
    typical = mixture.typicality(faces.embeddings)
    scores, intervals = score_rejection(typical, kinds, seen, mixture.min_typicality)
    known = typical >= mixture.min_typicality
    scores["faces_kept_per_emotion"] = {
        name: float(known[faces.labels == label].mean()) if (faces.labels == label).any() else None
        for label, name in enumerate(mixture.emotions)
    }
    if cross_fit:
        kept = cross_fitted_typicality(mixture, faces) >= mixture.min_typicality
        scores["faces_kept_cross_fitted"] = float(kept.mean())
        intervals["faces_kept_cross_fitted"] = mean_interval(kept)
    return scores, intervals
