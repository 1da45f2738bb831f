"""Evaluation: the metrics of the protocol, through the very objects that are served.

The embedder, the mixture and the gallery of a bundle are asked as the service asks them. Centroids come from
Training, near copies of Training are left out of validation, and near copies of a query are masked.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from index import non_faces
from index.bundle import Bundle, read_manifest, write_manifest
from index.calibration import calibration_scores
from index.classification import classification_scores
from index.clustering import clustering_scores
from index.gallery import Entry, Gallery
from index.ranking import RECALL_DEPTHS, RankingScores, RankingTally
from index.rejection import rejection_scores
from model.embedder import Embedder
from model.errors import DatasetError
from model.ferplus import LabelledFaces, NearCopies
from model.votes import EMOTIONS, UNLABELLED, Protocol, distribution, labels

NEIGHBOURS: Final = 11
"""k of the nearest-neighbour classifier, as in the paper."""

SCORES_NAME: Final = "scores.json"

_QUERIES_AT_ONCE: Final = 128

Report = Callable[[str], None]
Classifier = Callable[[NDArray[np.float32]], NDArray[np.int64]]


def evaluate(
    bundle: Bundle,
    embedder: Embedder,
    faces: LabelledFaces,
    near_copies: NearCopies,
    dataset: str,
    *,
    on_stage: Report = lambda _: None,
) -> tuple[dict[str, Any], NDArray[np.float32], NDArray[np.int64]]:
    """Score a bundle on faces that it was not made from.

    Args:
        bundle: what is scored.
        embedder: of the bundle.
        faces: such as FER+ validation.
        near_copies: which of them have near copies, and where.
        dataset: its name, for the report.
        on_stage: called with the name of each stage as it begins.

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

    on_stage("embedding")
    embeddings = embedder.embed(kept.images)
    scores: dict[str, Any] = {
        "dataset": dataset,
        "faces": len(faces),
        "near_copies_of_training_left_out": len(faces) - len(kept),
    }
    on_stage("classification and calibration")
    softmax_head = _softmax_head(bundle)
    scores["majority"] = _protocol_scores(bundle, softmax_head, embeddings, kept, "majority")
    scores["argmax"] = _protocol_scores(bundle, softmax_head, embeddings, kept, "argmax")

    clear_embeddings, clear_labels = embeddings[clear], majority[clear]
    clear_faces = kept.take(clear)
    on_stage("clustering")
    scores["clustering"] = asdict(clustering_scores(clear_embeddings, clear_labels, len(EMOTIONS)))
    groups = near_copies.groups_of(clear_faces.names)
    on_stage("retrieval, leave-one-out")
    own_gallery = Gallery(
        [Entry(name, EMOTIONS[label], {}) for name, label in zip(clear_faces.names, clear_labels, strict=True)],
        clear_embeddings,
    )
    scores["retrieval_leave_one_out"] = asdict(
        _ranking(
            own_gallery,
            clear_labels,
            groups,
            queries=clear_embeddings,
            query_labels=clear_labels,
            query_groups=groups,
            query_rows=np.arange(len(clear_labels)),
        )
    )
    on_stage("retrieval from the Training gallery")
    shipped = bundle.gallery
    shipped_labels = _labels_of(shipped)
    shipped_groups = near_copies.groups_of(tuple(f"{entry.id}.png" for entry in shipped.entries))
    scores["retrieval_from_training"] = asdict(
        _ranking(
            shipped,
            shipped_labels,
            shipped_groups,
            queries=clear_embeddings,
            query_labels=clear_labels,
            query_groups=groups,
        )
    )
    on_stage("rejection")
    scores["rejection"] = _rejection(bundle, embedder, clear_faces.images, clear_embeddings)
    return scores, clear_embeddings, clear_labels


def save_scores(folder: Path, scores: dict[str, Any]) -> Path:
    """Write ``scores.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SCORES_NAME
    path.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    return path


def save_plots(
    folder: Path,
    bundle: Bundle,
    scores: dict[str, Any],
    embeddings: NDArray[np.float32],
    face_labels: NDArray[np.int64],
) -> None:
    """Write the confusion matrix, the reliability diagram and the map of the embedding into ``folder``."""
    from index import plots
    from index.calibration import ReliabilityBin

    clear = scores["majority"]
    plots.confusion_matrix(folder / "confusion.png", clear["nearest_centroid"]["confusion"], EMOTIONS)
    plots.reliability_diagram(
        folder / "reliability.png",
        [ReliabilityBin(**each) for each in clear["calibration"]["bins"]],
        clear["calibration"]["expected_calibration_error"],
    )
    plots.embedding_map(
        folder / "map.png",
        embeddings,
        face_labels,
        centroids=bundle.mixture.centroids,
        covariances=bundle.mixture.covariances,
        names=EMOTIONS,
    )


def record_scores(bundle: Bundle, scores: dict[str, Any]) -> None:
    """Keep the scores in the bundle's manifest."""
    manifest = read_manifest(bundle.folder)
    write_manifest(bundle.folder, manifest.model_copy(update={"scores": scores}))


def headline(scores: dict[str, Any]) -> list[tuple[str, float]]:
    """The figures of the protocol, by name; ``scores.json`` has the rest."""
    clear, argmax = scores["majority"], scores["argmax"]
    nearest, calibration, clustering = clear["nearest_centroid"], clear["calibration"], scores["clustering"]
    rows = [
        ("accuracy, nearest centroid", nearest["accuracy"]),
        ("accuracy, 11 nearest neighbours", clear["nearest_neighbours"]["accuracy"]),
        ("accuracy, softmax head on the embedding", clear["softmax_head"]["accuracy"]),
        ("accuracy, nearest centroid, argmax protocol", argmax["nearest_centroid"]["accuracy"]),
        ("macro precision", nearest["macro_precision"]),
        ("macro recall", nearest["macro_recall"]),
        ("macro F1", nearest["macro_f1"]),
        *((f"recall, {name}", recall) for name, recall in nearest["recall_per_class"].items() if recall is not None),
        ("NMI of labels and predictions", nearest["normalised_mutual_information"]),
        ("K-means NMI", clustering["normalised_mutual_information"]),
        ("K-means ARI", clustering["adjusted_rand_index"]),
    ]
    for name, part in (("leave-one-out", "retrieval_leave_one_out"), ("from Training", "retrieval_from_training")):
        retrieval = scores[part]
        rows += [(f"recall@{k}, {name}", retrieval[f"recall_at_{k}"]) for k in RECALL_DEPTHS]
        rows += [
            (f"precision@10, {name}", retrieval["precision_at_10"]),
            (f"mAP, {name}", retrieval["mean_average_precision"]),
            (f"mAP@R, {name}", retrieval["mean_average_precision_at_r"]),
        ]
    return [
        *rows,
        ("expected calibration error", calibration["expected_calibration_error"]),
        ("Brier score against the votes", calibration["brier_score"]),
        ("KL divergence from the votes", calibration["kl_divergence"]),
        *((f"AUROC, faces against {kind}", each["auroc"]) for kind, each in scores["rejection"].items()),
    ]


def _labels_of(gallery: Gallery) -> NDArray[np.int64]:
    """(n,) indices into ``EMOTIONS`` of a gallery's faces."""
    return np.array([EMOTIONS.index(entry.emotion) for entry in gallery.entries], dtype=np.int64)


def _softmax_head(bundle: Bundle) -> Classifier:
    """The baseline: a softmax layer on the same embeddings, fitted on the faces of the bundle's gallery."""
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(max_iter=1000).fit(bundle.gallery.embeddings, _labels_of(bundle.gallery))
    return lambda queries: np.asarray(head.predict(queries), dtype=np.int64)


def _protocol_scores(
    bundle: Bundle, softmax_head: Classifier, embeddings: NDArray[np.float32], faces: LabelledFaces, protocol: Protocol
) -> dict[str, Any]:
    face_labels = labels(faces.votes, protocol)
    rows = np.flatnonzero(face_labels != UNLABELLED)
    points, wanted = embeddings[rows], face_labels[rows]
    posterior = bundle.mixture.posterior(points)
    neighbours = _vote_of_neighbours(bundle.gallery, points)
    return {
        "nearest_centroid": asdict(classification_scores(wanted, posterior.argmax(axis=1), EMOTIONS)),
        "nearest_neighbours": asdict(classification_scores(wanted, neighbours, EMOTIONS)),
        "softmax_head": asdict(classification_scores(wanted, softmax_head(points), EMOTIONS)),
        "calibration": asdict(calibration_scores(posterior, wanted, distribution(faces.votes[rows]))),
    }


def _vote_of_neighbours(gallery: Gallery, queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """(q,) the most frequent emotion among the nearest faces; among equally frequent ones, the nearest's."""
    voted = np.empty(len(queries), dtype=np.int64)
    for query, matches in enumerate(gallery.search(queries, NEIGHBOURS)):
        names = [EMOTIONS.index(match.entry.emotion) for match in matches]
        voted[query] = max(names, key=names.count)
    return voted


def _ranking(
    gallery: Gallery,
    gallery_labels: NDArray[np.int64],
    gallery_groups: NDArray[np.int64],
    *,
    queries: NDArray[np.float32],
    query_labels: NDArray[np.int64],
    query_groups: NDArray[np.int64],
    query_rows: NDArray[np.int64] | None = None,
) -> RankingScores:
    tally = RankingTally(EMOTIONS, gallery_labels, gallery_groups)
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        part = slice(start, start + _QUERIES_AT_ONCE)
        ranked, _ = gallery.ranking(queries[part], len(gallery))
        rows = query_rows[part] if query_rows is not None else None
        tally.add(ranked, query_labels[part], query_groups[part], rows)
    return tally.result()


def _rejection(
    bundle: Bundle, embedder: Embedder, crops: NDArray[np.uint8], embeddings: NDArray[np.float32]
) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    typical = bundle.mixture.typicality(embeddings)
    kinds = {
        "noise": non_faces.noise(1000, embedder.side_px, generator),
        "textures": non_faces.textures(1000, embedder.side_px, generator),
        "upside-down faces": non_faces.upside_down(crops),
        "badly cropped faces": non_faces.badly_cropped(crops),
    }
    return {
        kind: asdict(rejection_scores(typical, bundle.mixture.typicality(embedder.embed(each))))
        for kind, each in kinds.items()
    }
