"""``mien discover``: the sub-classes of a bundle, found in the faces that its network was trained on, and scored."""

import csv
import io
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any, Final

import numpy as np

from mien.index.bundle.bundle import Bundle, replace_sub_classes
from mien.index.evaluation.held_out import HeldOutFaces, held_out_faces
from mien.index.evaluation.scores.sub_classes import TrainingFaces, describe, score_sub_classes
from mien.index.evaluation.sheets import write_contact_sheets
from mien.index.fitting.component_count import Candidate
from mien.index.fitting.sub_classes import (
    Discovery,
    DiscoveryConfig,
    DiscoveryFaces,
    discover_sub_classes,
    emotion_faces,
)
from mien.index.mixture.emotion_mixture import fit_emotion
from mien.index.mixture.mixture import Mixture
from mien.index.mixture.sub_classes import SubClasses
from mien.model.datasets.ferplus import LabelledFaces, NearCopies
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import UNLABELLED, labels
from mien.model.files import write_atomically

ASSIGNMENTS_NAME: Final = "assignments.csv"

SEEDS: Final = 3
"""Discoveries that are compared with one another."""


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
        bundle: changed on disk.
        embedder: of the bundle.
        training: the faces of the bundle's gallery, and those whose raters agreed on no emotion.
        validation: faces to score on.
        near_copies: of both.
        config: settings.
        folder: for ``assignments.csv``, which ``mien train`` reads, and a contact sheet for each emotion.
        previous: sub-classes of an earlier round, whose ids are kept.
        on_stage: called with the name of each stage.
        on_progress: called with the number of faces embedded, or of emotions begun, and their total.

    Returns:
        The sub-classes, and their report in the manifest.

    Raises:
        DatasetError: an emotion has no clear face.
        BundleError: the bundle cannot be written.
    """
    mixture = bundle.mixture
    training, validation = training.of(mixture.emotions), validation.of(mixture.emotions)
    on_stage("embedding")
    faces = _embed_training_faces(bundle, embedder, training, near_copies, on_progress)
    clear = near_copies.without_leaks(validation)
    clear = clear.take(labels(clear.votes) != UNLABELLED)
    held_out = held_out_faces(clear, embedder.embed(clear.images, on_progress), near_copies)

    def on_emotion(emotion: str) -> None:
        on_stage(f"components of {emotion}")
        on_progress(mixture.emotions.index(emotion), len(mixture.emotions))

    found = discover_sub_classes(mixture, faces, config, previous=previous, on_emotion=on_emotion)
    on_progress(len(mixture.emotions), len(mixture.emotions))
    on_stage("scoring: other seeds")
    seeds = range(config.seed + 1, config.seed + SEEDS)
    others = [discover_sub_classes(mixture, faces, config.model_copy(update={"seed": seed})) for seed in seeds]
    report: dict[str, Any] = {
        "settings": config.model_dump(),
        **discovery_report(mixture, faces, [found, *others], held_out),
        "each": describe(found.sub_classes),
    }
    replace_sub_classes(bundle.folder, found.sub_classes, report)
    write_assignments(folder / ASSIGNMENTS_NAME, faces, found)
    on_stage("contact sheets")
    write_contact_sheets(folder, training, found.sub_classes)
    return found, report


def discovery_report(
    mixture: Mixture, faces: DiscoveryFaces, discoveries: Sequence[Discovery], held_out: HeldOutFaces
) -> dict[str, Any]:
    """Scores of the first of several discoveries, which differ in their seeds.

    Args:
        mixture: of the emotions.
        faces: that the sub-classes were found in.
        discoveries: at least two.
        held_out: faces that nothing was fitted on, each with a strict majority.

    Returns:
        JSON values. For each emotion: how many sub-classes; for each number that was tried, the agreement between
        halves of the faces and the gain of held-out log-likelihood over one Gaussian (nats per face); the adjusted
        Rand index between seeds. On the held-out faces: see ``score_sub_classes``.
    """
    from sklearn.metrics import adjusted_rand_score

    found = discoveries[0]
    emotions: dict[str, Any] = {}
    for label, emotion in enumerate(mixture.emotions):
        own = faces.clear == label
        count = len(found.sub_classes.rows_of(emotion))
        agreements = [adjusted_rand_score(one.rows[own], two.rows[own]) for one, two in combinations(discoveries, 2)]
        emotions[emotion] = {
            "sub_classes": count,
            "clear_faces": int(own.sum()),
            "agreement_between_seeds": float(mean(agreements)) if count > 1 else None,
            "tried": _describe_candidates(found.candidates[emotion]),
        }
    stability = [each["agreement_between_seeds"] for each in emotions.values() if each["sub_classes"] > 1]
    background = mixture.covariances.mean(axis=0)
    single = [
        fit_emotion(emotion_faces(mixture, faces, label)[1], 1, background) for label in range(len(mixture.emotions))
    ]
    votes = faces.votes[:, : len(mixture.emotions)]
    training = TrainingFaces(
        faces.embeddings, faces.labels(mixture), found.rows, votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)
    )
    return {
        "faces": len(faces.ids),
        "sub_classes": len(found.sub_classes),
        "seeds": len(discoveries),
        "agreement_between_seeds": mean(stability) if stability else None,
        "held_out": score_sub_classes(found.sub_classes, single, training, held_out),
        "emotions": emotions,
    }


def write_assignments(path: Path, faces: DiscoveryFaces, found: Discovery) -> None:
    """Write the sub-class of each face as CSV, with its probability within the face's emotion."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["name", "sub_class", "probability"])
    for face, row, probability in zip(faces.ids, found.rows.tolist(), found.probabilities.tolist(), strict=True):
        writer.writerow([face, found.sub_classes.each[row].id, f"{probability:.6f}"])
    with write_atomically(path) as file:
        file.write(text.getvalue().encode())


def _embed_training_faces(
    bundle: Bundle,
    embedder: Embedder,
    training: LabelledFaces,
    near_copies: NearCopies,
    on_progress: Callable[[int, int], None],
) -> DiscoveryFaces:
    """The training faces, with the gallery's embeddings for those that are in it; the others are embedded."""
    ids = tuple(Path(name).stem for name in training.names)
    in_gallery = np.array([face in bundle.gallery for face in ids], dtype=np.bool_)
    rows = {entry.id: row for row, entry in enumerate(bundle.gallery.entries)}
    embeddings = np.empty((len(ids), embedder.embedding_size), dtype=np.float32)
    embeddings[in_gallery] = bundle.gallery.embeddings[[rows[face] for face in ids if face in rows]]
    embeddings[~in_gallery] = embedder.embed(training.images[~in_gallery], on_progress)
    return DiscoveryFaces(ids, embeddings, training.votes, near_copies.groups_of(training.names), in_gallery)


def _describe_candidates(candidates: list[Candidate]) -> list[dict[str, Any]]:
    """Each number of components above 1 that was tried, compared with one component."""
    return [
        {
            "sub_classes": each.count,
            "agreement_between_halves": each.agreement,
            "log_likelihood_gain": each.gain_over(candidates[0])[0],
            "log_likelihood_gain_error": each.gain_over(candidates[0])[1],
        }
        for each in candidates[1:]
    ]
