"""Discover: the sub-classes of a bundle, out of the faces its network was trained on."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from mien.index.bundle.bundle import Bundle, replace_sub_classes
from mien.index.evaluation.held_out import HeldOutFaces
from mien.index.evaluation.sheets import write_contact_sheet
from mien.index.evaluation.sub_classes import describe, subclass_scores
from mien.index.fitting.discovery import Discovery, DiscoveryConfig, DiscoveryFaces, discover
from mien.index.mixture.sub_classes import SubClasses
from mien.model.datasets.ferplus import LabelledFaces, NearCopies
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import UNLABELLED, distribution, labels
from mien.model.files import write_atomically

ASSIGNMENTS_NAME: Final = "assignments.csv"


def discover_in_bundle(
    bundle: Bundle,
    embedder: Embedder,
    *,
    training: LabelledFaces,
    validation: LabelledFaces,
    near_copies: NearCopies,
    config: DiscoveryConfig,
    folder: Path,
    previous: SubClasses | None = None,
    on_stage: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[int, int], None] = lambda _, __: None,
) -> tuple[Discovery, dict[str, Any]]:
    """Find sub-classes, score them, and write them into the bundle.

    Args:
        bundle: it is changed on disk.
        embedder: of the bundle.
        training: the faces of the bundle's gallery, and others whose raters agreed on no emotion.
        validation: faces to score on.
        near_copies: of both.
        config: how to look.
        folder: receives ``assignments.csv``, which ``mien train`` takes, and a contact sheet for each emotion.
        previous: an earlier round, whose ids stay.
        on_stage: called with the name of each stage.
        on_progress: called with the number of faces embedded, or of emotions begun, and their total.

    Returns:
        The sub-classes, and the report that the manifest has of them.

    Raises:
        DatasetError: an emotion has no clear face.
        BundleError: the bundle cannot be written.
    """
    on_stage("embedding")
    faces = _training_faces(bundle, embedder, training, near_copies, on_progress)
    clear = near_copies.without_leaks(validation)
    clear = clear.take(labels(clear.votes) != UNLABELLED)
    held_out = HeldOutFaces(
        embedder.embed(clear.images, on_progress),
        labels(clear.votes),
        distribution(clear.votes),
        near_copies.groups_of(clear.names),
    )
    emotions = bundle.mixture.emotions

    def on_emotion(emotion: str) -> None:
        on_stage(f"components of {emotion}")
        on_progress(emotions.index(emotion), len(emotions))

    found = discover(bundle.mixture, faces, config, previous=previous, on_stage=on_emotion)
    on_progress(len(emotions), len(emotions))
    on_stage("scoring: other seeds")
    report: dict[str, Any] = {
        "settings": config.model_dump(),
        **subclass_scores(bundle.mixture, faces, found, held_out, config),
        "each": describe(found.subclasses),
    }
    replace_sub_classes(bundle.folder, found.subclasses, report)
    write_assignments(folder / ASSIGNMENTS_NAME, faces, found)
    on_stage("contact sheets")
    _write_contact_sheets(folder, training, found)
    return found, report


def _training_faces(
    bundle: Bundle,
    embedder: Embedder,
    training: LabelledFaces,
    near_copies: NearCopies,
    on_progress: Callable[[int, int], None],
) -> DiscoveryFaces:
    """Embeddings are the gallery's where it has the face; the others are embedded."""
    ids = tuple(Path(name).stem for name in training.names)
    in_gallery = np.array([face in bundle.gallery for face in ids], dtype=np.bool_)
    rows = {entry.id: row for row, entry in enumerate(bundle.gallery.entries)}
    embeddings = np.empty((len(ids), embedder.embedding_size), dtype=np.float32)
    embeddings[in_gallery] = bundle.gallery.embeddings[[rows[face] for face in ids if face in rows]]
    embeddings[~in_gallery] = embedder.embed(training.images[~in_gallery], on_progress)
    return DiscoveryFaces(ids, embeddings, training.votes, near_copies.groups_of(training.names), in_gallery)


def write_assignments(path: Path, faces: DiscoveryFaces, found: Discovery) -> None:
    """Write the sub-class of each face as CSV, with its probability within the face's emotion."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["name", "sub_class", "probability"])
    for face, place, probability in zip(faces.ids, found.places.tolist(), found.probabilities.tolist(), strict=True):
        writer.writerow([face, found.subclasses.each[place].id, f"{probability:.6f}"])
    with write_atomically(path) as file:
        file.write(text.getvalue().encode())


def _write_contact_sheets(folder: Path, training: LabelledFaces, found: Discovery) -> None:
    crops = {Path(name).stem: image for name, image in zip(training.names, training.images, strict=True)}
    for emotion in found.subclasses.emotions:
        rows = found.subclasses.rows_of(emotion)
        means = [training.images[found.places == row].mean(axis=0) for row in rows]
        write_contact_sheet(folder / f"{emotion}.png", [found.subclasses.each[row] for row in rows], crops, means)
