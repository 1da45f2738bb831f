"""Transfer: scores of a bundle on the photographs of another data set (``mien evaluate --dataset``).

Photographs are processed as an upload is: decoded, detected, aligned, embedded. Nothing is fitted on the data set; the
centroids are the bundle's.
"""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.scores.classification import classification_scores, mean_recall
from mien.index.evaluation.scores.identity import identity_leakage
from mien.index.evaluation.scores.retrieval import rank_and_score
from mien.index.gallery.fixed_gallery import Entry, FixedGallery
from mien.index.mixture.mixture import Mixture
from mien.model.datasets.base import LabelledPhotographs
from mien.model.errors import DatasetError, ImageError, NoFaceError, reason_of
from mien.model.faces.box import Box
from mien.model.faces.decoding import read_file
from mien.model.faces.reader import Face, FaceReader
from mien.model.pipeline import Pipeline

MAX_QUERIES: Final = 20_000
"""Photographs that are drawn as queries from a larger set; the gallery is always the whole set."""

MIN_OVERLAP: Final = 0.25
"""Intersection over union from which a detected face is the one in the data set's box.

Detectors draw boxes of different sizes, some to the hair and some to the eyebrows; two faces of a photograph rarely
overlap so much."""

UNREADABLE: Final = "unreadable"
"""Kind of the photographs that cannot be read."""

SKIPPED_NAME: Final = "skipped.csv"

FREQUENT_PHOTOGRAPHS: Final = 90
"""An emotion with more photographs than this takes part in the mean recall of the frequent emotions."""

_FILES_AT_ONCE: Final = 64


@dataclass(frozen=True)
class Skip:
    """A photograph that could not be scored.

    Attributes:
        path: its file.
        kind: why, in one of a few categories that are counted.
        reason: why, in a sentence.
    """

    path: Path
    kind: str
    reason: str


@dataclass(frozen=True)
class EmbeddedPhotographs:
    """The labelled faces of a data set.

    Attributes:
        rows: (m,) int64, the photographs whose labelled face was found.
        embeddings: (m, d) float32.
        skipped: the other photographs.
    """

    rows: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    skipped: tuple[Skip, ...]


def labelled_crops(
    reader: FaceReader, photographs: LabelledPhotographs, *, on_progress: Callable[[int], object] = lambda _: None
) -> tuple[NDArray[np.int64], NDArray[np.uint8], list[Skip]]:
    """Cut out and align the labelled face of each photograph, as ``embed_photographs`` does.

    Args:
        reader: finds the faces.
        photographs: what is read.
        on_progress: called after each batch with the number of photographs in it.

    Returns:
        (m,) the photographs whose labelled face was found, (m, side, side) their crops, and the other photographs.

    Raises:
        DatasetError: no photograph could be used.
    """
    rows, crops, skipped = [], [], list[Skip]()
    for batch in _labelled_faces(reader, photographs):
        for row, found in batch:
            if isinstance(found, Skip):
                skipped.append(found)
            else:
                rows.append(row)
                crops.append(found.crop)
        on_progress(len(batch))
    if not rows:
        raise _none_found(photographs, skipped)
    return np.array(rows, dtype=np.int64), np.stack(crops), skipped


def embed_photographs(
    pipeline: Pipeline, photographs: LabelledPhotographs, *, on_progress: Callable[[int], object] = lambda _: None
) -> EmbeddedPhotographs:
    """Embed the labelled face of each photograph.

    Where a photograph has several faces, the labelled one is that in the data set's box or, without boxes, the largest.
    Photographs are read in small batches: of the whole set, only embeddings are kept in memory.

    Args:
        pipeline: of the bundle.
        photographs: the data set.
        on_progress: called after each batch with the number of photographs in it.

    Raises:
        DatasetError: no photograph could be used.
    """
    rows: list[int] = []
    embeddings: list[NDArray[np.float32]] = []
    skipped: list[Skip] = []
    for batch in _labelled_faces(pipeline, photographs):
        faces = []
        for row, face in batch:
            if isinstance(face, Skip):
                skipped.append(face)
            else:
                rows.append(row)
                faces.append(face)
        if faces:
            embeddings.append(pipeline.embed(faces))
        on_progress(len(batch))
    if not rows:
        raise _none_found(photographs, skipped)
    return EmbeddedPhotographs(np.array(rows, dtype=np.int64), np.concatenate(embeddings), tuple(skipped))


def face_at(faces: Sequence[Face], box: Box) -> Face | None:
    """The face whose box overlaps most with ``box``, if by ``MIN_OVERLAP``."""
    best = max(faces, key=lambda face: _overlap(face.box, box), default=None)
    return best if best is not None and _overlap(best.box, box) >= MIN_OVERLAP else None


def transfer_scores(
    mixture: Mixture,
    photographs: LabelledPhotographs,
    embedded: EmbeddedPhotographs,
    *,
    on_progress: Callable[[int, int], object] = lambda _, __: None,
) -> dict[str, Any]:
    """Score the embeddings of a data set.

    The predicted emotion is that of the nearest centroid, among all (``all_emotions``) and among those that the set
    has (``own_emotions``). Retrieval is leave-one-out within the set; where subjects are known, all photographs of
    the query's subject are left out.

    Args:
        mixture: of the bundle.
        photographs: the data set; its emotions are the mixture's, in any order.
        embedded: its faces.
        on_progress: called with the queries ranked and their total.

    Returns:
        The scores (JSON values).
    """
    labels = photographs.labels[embedded.rows]
    people = None
    if photographs.subjects is not None:
        people = np.unique([photographs.subjects[row] for row in embedded.rows], return_inverse=True)[1]
    emotions = photographs.emotions
    distances = mixture.distances(embedded.embeddings)[:, [mixture.emotions.index(name) for name in emotions]]
    own, counts = np.unique(photographs.labels, return_counts=True)
    every = classification_scores(labels, distances.argmin(axis=1), emotions)
    frequent = [emotions[label] for label in own[counts > FREQUENT_PHOTOGRAPHS]]
    return {
        "dataset": photographs.name,
        "photographs": len(photographs),
        "scored": len(embedded.rows),
        "skipped": dict(Counter(skip.kind for skip in embedded.skipped)),
        "left_out": photographs.left_out,
        "already_cropped": photographs.cropped,
        "subjects": len(set(photographs.subjects)) if photographs.subjects is not None else None,
        "emotions": list(photographs.classes),
        "emotions_lacking": list(photographs.missing_emotions),
        "all_emotions": every | {"recall_of_frequent": mean_recall(every["recall_per_class"], frequent)},
        "frequent_emotions": frequent,
        "own_emotions": classification_scores(labels, own[distances[:, own].argmin(axis=1)], emotions),
        "retrieval_leave_one_out": _retrieval(emotions, embedded.embeddings, labels, people, on_progress),
        "identity_leakage": _identity(embedded.embeddings, labels, people),
    }


def save_skips(folder: Path, skipped: Sequence[Skip]) -> Path:
    """Write ``skipped.csv`` into ``folder``: each photograph that was not scored, and why."""
    path = folder / SKIPPED_NAME
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "kind", "reason"))
        writer.writerows((skip.path, skip.kind, skip.reason) for skip in skipped)
    return path


def headline(scores: dict[str, Any]) -> list[tuple[str, str]]:
    """The main figures by name, as text; ``scores.json`` has the rest."""
    every, own, ranking = scores["all_emotions"], scores["own_emotions"], scores["retrieval_leave_one_out"]
    identity = scores["identity_leakage"]
    # Among the emotions of a set that has one, everything is named correctly.
    own_figures = [
        ("accuracy, nearest centroid of the set's emotions", own["accuracy"]),
        ("macro recall, the set's emotions", own["macro_recall"]),
        *((f"recall, {name}, the set's emotions", recall) for name, recall in own["recall_per_class"].items()),
    ]
    counts = [
        ("photographs with an emotion of the bundle", f"{scores['photographs']}"),
        *((f"left out: {what}", f"{number}") for what, number in scores["left_out"].items()),
        *((f"skipped: {kind}", f"{number}") for kind, number in scores["skipped"].items()),
        ("faces scored", f"{scores['scored']}"),
        ("emotions that the set lacks", ", ".join(scores["emotions_lacking"]) or "none"),
        ("subjects", "not known" if scores["subjects"] is None else f"{scores['subjects']}"),
    ]
    figures = [
        ("accuracy, nearest of all centroids", every["accuracy"]),
        ("macro recall, all emotions", every["macro_recall"]),
        (f"recall, emotions with more than {FREQUENT_PHOTOGRAPHS} photographs", every["recall_of_frequent"]),
        *((f"recall, {name}, all emotions", recall) for name, recall in every["recall_per_class"].items()),
        *(own_figures if len(scores["emotions"]) > 1 else ()),
        *([("mAP, leave-one-out", ranking["mean_average_precision"])] if ranking else []),
        *([("recall@1, leave-one-out", ranking["recall_at_1"])] if ranking else []),
        *([("precision@10, leave-one-out", ranking["precision_at_10"])] if ranking else []),
        *([("identity leakage, AUROC (0.5 is none)", identity["auroc"])] if identity else []),
        *([("identity leakage, recall@1", identity["recall_at_1"])] if identity else []),
        *([("the same by chance", identity["chance_at_1"])] if identity else []),
    ]
    return counts + [(name, f"{value:.4f}") for name, value in figures if value is not None]


def _labelled_faces(reader: FaceReader, photographs: LabelledPhotographs) -> Iterator[list[tuple[int, Face | Skip]]]:
    """Row and labelled face of each photograph, some photographs at a time."""

    def find(row: int) -> Face | Skip:
        box = photographs.boxes[row] if photographs.boxes is not None else None
        return _labelled_face(reader, photographs.paths[row], box, cropped=photographs.cropped)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(photographs), _FILES_AT_ONCE):
            batch = range(start, min(start + _FILES_AT_ONCE, len(photographs)))
            yield list(zip(batch, threads.map(find, batch), strict=True))


def _none_found(photographs: LabelledPhotographs, skipped: Sequence[Skip]) -> DatasetError:
    return DatasetError(
        f"{photographs.name}: expected photographs with a face, got none among {len(photographs)}; "
        f"the first: {skipped[0].path}: {skipped[0].reason}"
    )


def _labelled_face(reader: FaceReader, path: Path, box: Box | None, *, cropped: bool) -> Face | Skip:
    try:
        faces = reader.read_faces(read_file(path, reader.limits), already_cropped=cropped)
    except NoFaceError as error:
        return Skip(path, "no face found", str(error))
    except (ImageError, OSError) as error:
        return Skip(path, UNREADABLE, reason_of(error))
    if box is None or cropped:
        return faces[0]
    chosen = face_at(faces, box)
    if chosen is None:
        return Skip(path, "no face in the data set's box", f"none of {len(faces)} faces overlaps the box {box}")
    return chosen


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, from 0 to 1."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def rank_leave_one_out(
    emotions: Sequence[str],
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    on_progress: Callable[[int, int], object] = lambda _, __: None,
) -> dict[str, Any]:
    """Scores of retrieval within a set; faces of the query's group are passed over.

    Args:
        emotions: (c,) names.
        embeddings: (n, d).
        labels: (n,) indices into ``emotions``.
        groups: (n,) a number for each group of faces that are no answer to one another.
        on_progress: called with the queries ranked and their total.

    Raises:
        DatasetError: no face has another of its emotion.
    """
    count = len(labels)
    gallery = FixedGallery([Entry(str(row), emotions[label], {}) for row, label in enumerate(labels)], embeddings)
    queries = np.arange(count)
    if count > MAX_QUERIES:
        queries = np.sort(np.random.default_rng(0).choice(count, MAX_QUERIES, replace=False))
    return rank_and_score(
        gallery,
        labels,
        groups,
        embeddings[queries],
        labels=labels[queries],
        groups=groups[queries],
        query_rows=queries,
        emotions=emotions,
        on_progress=on_progress,
    )[0]


def _retrieval(
    emotions: Sequence[str],
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    people: NDArray[np.int64] | None,
    on_progress: Callable[[int, int], object],
) -> dict[str, Any] | None:
    """Scores of retrieval; None where no photograph has another of its emotion."""
    groups = people if people is not None else np.arange(len(labels))
    try:
        return rank_leave_one_out(emotions, embeddings, labels, groups, on_progress)
    except DatasetError:
        return None


def _identity(
    embeddings: NDArray[np.float32], labels: NDArray[np.int64], people: NDArray[np.int64] | None
) -> dict[str, Any] | None:
    """Identity leakage; None where subjects are not known, or no person shows two expressions."""
    try:
        return asdict(identity_leakage(embeddings, people, labels)) if people is not None else None
    except DatasetError:
        return None
