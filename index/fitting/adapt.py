"""``mien adapt``: a bundle for another domain or for further emotions, out of a bundle and a few labelled photographs.

The report compares the bundle with the adapted one on these photographs, each of which is named by centroids that were
fitted without it and without its person (``mien.index.fitting.adaptation``).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle, write_adapted
from mien.index.bundle.manifest import Manifest
from mien.index.evaluation.scores.classification import gallery_labels
from mien.index.evaluation.scores.intervals import percentile_interval, resampled_means
from mien.index.evaluation.transfer import labelled_crops
from mien.index.fitting.adaptation import Adaptation, AdaptationFaces, adapt_mixture, move_sub_classes
from mien.index.fitting.calibrate import distance_from_uniform
from mien.index.mixture.em import GaussianMixture
from mien.index.mixture.mixture import Mixture, typicality_from
from mien.index.mixture.sub_classes import SubClasses
from mien.model.datasets.base import LabelledPhotographs
from mien.model.datasets.csv_table import read_listing
from mien.model.datasets.folders import read_folders
from mien.model.emotions import emotion_of
from mien.model.errors import DatasetError
from mien.model.pipeline import Pipeline

MIN_FACES: Final = 2
"""Faces that an emotion must have, if it has any."""

MIN_NEW_FACES: Final = 5
"""Faces that a new emotion must have."""

MIN_CONFIDENCE: Final = 0.9
"""The share of bootstrap draws in which recall must rise for an adaptation to count as a help."""

_MAX_NAME: Final = 100
"""Characters of an emotion's name, which is that of ``EmotionQuery``."""


def read_photographs(
    root: Path, bundle_emotions: tuple[str, ...], new: Sequence[str] = (), split: str = "all"
) -> LabelledPhotographs:
    """Read a folder of photographs for each label, or a table of photographs.

    Args:
        root: the folder, the table, or the folder that holds it as ``labels.csv``.
        bundle_emotions: (c,) names.
        new: labels that become further emotions.
        split: a folder of ``root``, or a value of the table's column ``split``; ``all`` reads every photograph.

    Raises:
        DatasetError: the photographs cannot be read, a label is neither an emotion of the bundle nor a new one, or a
            new one is in the bundle, is no label, or cannot be a name.
    """
    if not root.exists():
        raise DatasetError(f"expected a folder of photographs for each label or their table, got nothing at {root}")
    is_table = root.is_file() or (root / "labels.csv").is_file()
    photographs = read_listing(root, split, None) if is_table else read_folders(root, split, None)
    added = tuple(dict.fromkeys(emotion_of(name) for name in new))
    for name in added:
        if name in bundle_emotions:
            raise DatasetError(f"a new emotion must be none of the bundle's, got {name}")
        if name not in photographs.emotions:
            raise DatasetError(f"a new emotion must be a label of photographs, got {name}: there are none of it")
        if "/" in name or len(name) > _MAX_NAME:
            raise DatasetError(f"the name of an emotion must have no / and up to {_MAX_NAME} characters, got {name}")
    known = (*bundle_emotions, *added)
    for name in photographs.emotions:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f": perhaps {close[0]}" if close else ""
            raise DatasetError(
                f"labels must be emotions of the bundle ({', '.join(bundle_emotions)}) or new ones (--new), "
                f"got {name!r}{hint}"
            )
    return photographs.of(known)


@dataclass(frozen=True)
class EmbeddedFaces:
    """The faces of labelled photographs.

    Attributes:
        faces: embedded.
        grouped_by: ``subject``, or ``photograph`` where fewer than two people are named.
        left_out: how many photographs were left out, by reason.
    """

    faces: AdaptationFaces
    grouped_by: str
    left_out: dict[str, int]


def embed_faces(
    pipeline: Pipeline,
    photographs: LabelledPhotographs,
    old: int,
    *,
    on_progress: Callable[[int], object] = lambda _: None,
) -> EmbeddedFaces:
    """Find and embed the faces of photographs.

    Args:
        pipeline: of the bundle.
        photographs: of old and new emotions.
        old: how many of the emotions the bundle has.
        on_progress: called after each batch with the number of photographs in it.

    Raises:
        DatasetError: no photograph has a face, an emotion has too few, or the same face has two labels.
    """
    rows, crops, skipped = labelled_crops(pipeline, photographs, on_progress=on_progress)
    left_out = Counter(photographs.left_out) + Counter(skip.kind for skip in skipped)
    first: dict[bytes, int] = {}
    for row, crop in zip(rows.tolist(), crops, strict=True):
        other = first.setdefault(crop.tobytes(), row)
        if photographs.labels[other] != photographs.labels[row]:
            one, two = (photographs.emotions[photographs.labels[each]] for each in (other, row))
            raise DatasetError(
                f"a face must have one label, got {one} for {photographs.paths[other]} and {two} for its copy "
                f"{photographs.paths[row]}"
            )
    kept = np.isin(rows, list(first.values()))
    if not kept.all():
        left_out["copies of another photograph"] += int((~kept).sum())
    rows, crops = rows[kept], crops[kept]
    labels = photographs.labels[rows]
    _check_counts(labels, photographs.emotions, old)
    subjects = photographs.subjects
    people = np.array([subjects[row] for row in rows.tolist()]) if subjects is not None else np.zeros(len(rows))
    grouped_by = "subject" if len(np.unique(people)) > 1 else "photograph"
    groups = np.unique(people, return_inverse=True)[1] if grouped_by == "subject" else np.arange(len(rows))
    faces = AdaptationFaces(pipeline.embedder.embed(crops), labels, groups, photographs.emotions)
    return EmbeddedFaces(faces, grouped_by, dict(left_out))


def _check_counts(labels: NDArray[np.int64], emotions: tuple[str, ...], old: int) -> None:
    counts = np.bincount(labels, minlength=len(emotions)).tolist()
    for label, (name, count) in enumerate(zip(emotions, counts, strict=True)):
        least = MIN_FACES if label < old else MIN_NEW_FACES
        if count < least and (count or label >= old):
            what = "an emotion of the bundle must have no or" if label < old else "a new emotion must have"
            raise DatasetError(f"{what} {least} or more photographs with a face, got {count} of {name}")


def adapt_bundle(bundle: Bundle, embedded: EmbeddedFaces, name: str) -> tuple[Adaptation, dict[str, Any]]:
    """Adapt the mixture of a bundle to faces, and compare both.

    Args:
        bundle: which stays as it is.
        embedded: faces, two or more.
        name: of the photographs, for the report.

    Returns:
        The adaptation, and the report (JSON values): ``new_emotions`` has how many groups show each; ``figures``
        have ``before``, ``after``, the ``gain`` and its 95 % ``interval`` over groups of faces; ``helps`` says whether
        recall over the emotions rises in 90 % of bootstrap draws.
    """
    before, faces = bundle.mixture, embedded.faces
    adaptation = adapt_mixture(before, faces, bundle.gallery.embeddings)
    after = adaptation.mixture
    figures, confidence = _compare(faces, before.distances(faces.embeddings), adaptation.distances)
    typical = typicality_of(adaptation)
    truth = gallery_labels(bundle.gallery, before.emotions)
    shipped = [
        float((mixture.distances(bundle.gallery.embeddings).argmin(axis=1) == truth).mean())
        for mixture in (before, after)
    ]
    moved = np.linalg.norm(after.centroids[: len(before.emotions)] - before.centroids, axis=1)
    report = {
        "photographs": name,
        "faces": len(faces),
        "left_out": embedded.left_out,
        "cross_validated_by": embedded.grouped_by,
        "groups": len(np.unique(faces.groups)),
        "emotions": dict(zip(faces.emotions, faces.counts.tolist(), strict=True)),
        "new_emotions": {
            name: len(np.unique(faces.groups[faces.labels == label]))
            for label, name in enumerate(faces.emotions)
            if label >= len(before.emotions)
        },
        "strength": None if math.isinf(adaptation.strength) else adaptation.strength,
        "helps": confidence >= MIN_CONFIDENCE,
        "share_of_draws_with_a_gain": confidence,
        "figures": figures,
        "gallery_accuracy": {"faces": len(bundle.gallery), "before": shipped[0], "after": shipped[1]},
        "known": {
            "before": float((before.typicality(faces.embeddings) >= before.min_typicality).mean()),
            "after": float((typical >= after.min_typicality).mean()),
        },
        "distance_of_typicality_from_uniform": {
            "before": distance_from_uniform(before.typicality(faces.embeddings)),
            "after": distance_from_uniform(typical),
        },
        "sigma": {"before": before.sigma, "after": after.sigma},
        "centroids_moved": dict(zip(before.emotions, moved.tolist(), strict=True)),
        "sub_classes": _sub_class_fit(bundle, after, faces),
    }
    return adaptation, report


def typicality_of(adaptation: Adaptation) -> NDArray[np.float64]:
    """(n,) typicality of the faces that a mixture was adapted to, each by a fit without it."""
    calibration = adaptation.mixture.calibration
    table = calibration.outlier_scores if calibration is not None else adaptation.mixture.typical
    return typicality_from(adaptation.outlier_scores, table)


def write_adaptation(bundle: Bundle, adaptation: Adaptation, report: dict[str, Any], output: Path) -> Manifest:
    """Write the adapted bundle, whole or not at all; the network, and so embeddings and galleries, stay the same.

    Raises:
        BundleError: the output folder holds something else than a bundle.
    """
    sub_classes = bundle.sub_classes
    if sub_classes is not None:
        sub_classes = move_sub_classes(bundle.mixture, adaptation.mixture, sub_classes)
    return write_adapted(bundle, output, adaptation.mixture, sub_classes, report)


def _compare(
    faces: AdaptationFaces, before: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[dict[str, dict[str, Any]], float]:
    """Figures of the nearest centroids by two sets of distances, and how often recall rises in bootstrap draws."""
    count = len(faces.emotions)
    label = np.eye(count)[faces.labels]
    hits = [label * (distances.argmin(axis=1) == faces.labels)[:, None] for distances in (before, after)]
    rows = np.concatenate([label, *hits], axis=1)  # (n, 3 c')
    group_of = np.unique(faces.groups, return_inverse=True)[1]
    sums = np.zeros((int(group_of.max()) + 1, 3 * count))
    np.add.at(sums, group_of, rows)

    def recalls(totals: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(..., 2) accuracy and (..., 2, c') recall, of before and after."""
        counts, right = totals[..., None, :count], totals[..., count:].reshape(*totals.shape[:-1], 2, count)
        with np.errstate(invalid="ignore", divide="ignore"):
            return right.sum(axis=-1) / counts.sum(axis=-1), right / counts

    def named(totals: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        accuracy, recall = recalls(totals)
        shown = np.flatnonzero(faces.counts)
        return {
            "accuracy": accuracy,
            "macro_recall": np.nanmean(recall[..., shown], axis=-1),
            **{f"recall, {faces.emotions[column]}": recall[..., column] for column in shown},
        }

    drawn = named(resampled_means(sums))
    figures: dict[str, dict[str, Any]] = {}
    for name, pair in named(sums.sum(axis=0)).items():
        gains = drawn[name][:, 1] - drawn[name][:, 0]
        figures[name] = {
            "before": float(pair[0]),
            "after": float(pair[1]),
            "gain": float(pair[1] - pair[0]),
            "interval": list(percentile_interval(gains)),
        }
    gains = drawn["macro_recall"][:, 1] - drawn["macro_recall"][:, 0]
    return figures, float((gains > 0).mean())


def _sub_class_fit(bundle: Bundle, after: Mixture, faces: AdaptationFaces) -> dict[str, float]:
    """By how much faces are more likely under moved sub-classes than under one Gaussian, of each emotion; in nats.

    Below 0, the sub-classes of an emotion do not describe these faces.
    """
    if bundle.sub_classes is None:
        return {}
    moved: SubClasses = move_sub_classes(bundle.mixture, after, bundle.sub_classes)
    gains = {}
    for label, emotion in enumerate(bundle.mixture.emotions):
        own = faces.embeddings[faces.labels == label]
        if len(own) and len(moved.rows_of(emotion)) > 1:
            single = GaussianMixture(np.ones(1), after.centroids[[label]], after.covariances[[label]])
            likelihood = moved.mixtures[label].log_likelihood(own)
            gains[emotion] = float((likelihood - single.log_likelihood(own)).mean())
    return gains
