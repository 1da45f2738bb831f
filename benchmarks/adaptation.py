"""What an adaptation is worth: an emotion taken out of the mixture and added back from a few faces.

    python benchmarks/adaptation.py ../shared/data/ferplus

The faces are drawn from Training, all are scored on validation without near copies. The network was trained with all
eight emotions, so this measures the mixture, not how well a network separates an expression that it has never seen.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle, load_bundle
from mien.index.bundle.default import default_bundle
from mien.index.evaluation.scores.classification import gallery_labels
from mien.index.fitting.adaptation import AdaptationFaces, adapt_mixture
from mien.index.mixture.mixture import Mixture, quantile_table
from mien.model.datasets.ferplus import read_ferplus, read_near_copies
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import UNLABELLED, labels

COUNTS: Final = (5, 10, 20)
DRAWS: Final = 10
GALLERY_FACES: Final = 3000
"""Faces of the gallery by which the scale of typicality is followed: enough for its quantiles."""


def without(mixture: Mixture, label: int, embeddings: NDArray[np.float32]) -> Mixture:
    """The mixture without one emotion, its typicality on the scale of faces of the others."""
    rest = np.arange(len(mixture.emotions)) != label
    smaller = replace(
        mixture,
        emotions=tuple(name for row, name in enumerate(mixture.emotions) if row != label),
        centroids=mixture.centroids[rest],
        covariances=mixture.covariances[rest],
        weights=mixture.weights[rest] / mixture.weights[rest].sum(),
    )
    if mixture.calibration is None:
        return smaller
    table = quantile_table(smaller.outlier_score(embeddings))
    return replace(smaller, calibration=replace(mixture.calibration, outlier_scores=table))


def add_back(bundle: Bundle, label: int, validation: NDArray[np.float32], truth: NDArray[np.int64]) -> None:
    """Print the figures of one emotion."""
    full, name = bundle.mixture, bundle.mixture.emotions[label]
    own = truth == label
    smaller = without(full, label, validation[~own])
    names = (*smaller.emotions, name)
    # Labels in the order of the new mixture, whose last emotion is the one that comes back.
    wanted = np.array([names.index(full.emotions[each]) for each in truth])
    votes = [entry.metadata["votes"] for entry in bundle.gallery.entries]
    clear = np.array([max(each.values()) > sum(each.values()) / 2 for each in votes])
    pool = np.flatnonzero(clear & (gallery_labels(bundle.gallery) == label))
    embeddings = bundle.gallery.embeddings
    gallery = embeddings[:: max(1, len(embeddings) // GALLERY_FACES)]

    def figures(mixture: Mixture, labels_of: NDArray[np.int64]) -> list[float]:
        right = mixture.distances(validation).argmin(axis=1) == labels_of
        known = mixture.typicality(validation) >= mixture.min_typicality
        return [float(each.mean()) for each in (right[own], right[~own], right, known[own])]

    write_row(name, int(own.sum()), "none", *figures(smaller, wanted))
    generator = np.random.default_rng(0)
    for count in COUNTS:
        drawn = []
        for _ in range(DRAWS):
            rows = generator.choice(pool, count, replace=False)
            faces = AdaptationFaces(embeddings[rows], np.full(count, len(names) - 1), np.arange(count), names)
            drawn.append(figures(adapt_mixture(smaller, faces, gallery).mixture, wanted))
        recall, *others = np.mean(drawn, axis=0).tolist()
        write_row("", "", count, f"{recall:.3f} ± {np.std([each[0] for each in drawn]):.3f}", *others)
    write_row("", "", "all", *figures(full, truth))


def write_row(*cells: object) -> None:
    """Write a row of a Markdown table."""
    shown = (f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells)
    sys.stdout.write(f"| {' | '.join(shown)} |\n")


def main() -> None:
    """Print the figures of every emotion as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="The folder of FER+.")
    parser.add_argument("--bundle", type=Path, default=default_bundle())
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    faces = read_near_copies(arguments.data).without_leaks(read_ferplus(arguments.data, "PublicTest"))
    faces = faces.take(labels(faces.votes) != UNLABELLED)
    validation = Embedder(bundle.embedder_path).embed(faces.images)
    write_row("emotion", "validation faces", "added from", "its recall", "accuracy of the others", "accuracy", "known")
    write_row(*["---"] * 7)
    for label in range(len(bundle.mixture.emotions)):
        add_back(bundle, label, validation, labels(faces.votes))


if __name__ == "__main__":
    main()
