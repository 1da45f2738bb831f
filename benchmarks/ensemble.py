r"""An ensemble of exported networks: its figures on FER+ validation, and its posteriors on Training to learn from.

    python benchmarks/ensemble.py a.onnx b.onnx --data ferplus --output posteriors.npz

The posterior of the ensemble is the mean of its members' posteriors, each by the centroids of Training. The table is a
teacher: ``mien train --teachers posteriors.npz``.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.scores.classification import FREQUENT, classification_scores
from mien.index.mixture.mixture import centroid_distances, posterior_from
from mien.model.datasets.ferplus import read_ferplus, read_near_copies
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import UNLABELLED, labels


def main() -> None:
    """Embed, print the ensemble's accuracy, and write its posteriors on Training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, nargs="+", help="exported networks")
    parser.add_argument("--data", type=Path, required=True, help="FER+ folder")
    parser.add_argument("--output", type=Path, required=True, help="npz file for names and posteriors")
    arguments = parser.parse_args()

    training = read_ferplus(arguments.data, "Training")
    validation = read_near_copies(arguments.data).without_leaks(read_ferplus(arguments.data, "PublicTest"))
    majority, held_out = labels(training.votes), labels(validation.votes)
    on_training = np.zeros((len(training), len(training.emotions)))
    on_validation = np.zeros((len(validation), len(training.emotions)))
    for path in arguments.networks:
        embedder = Embedder(path, provider="cpu")
        embeddings = embedder.embed(training.images).astype(np.float64)
        emotions = range(len(training.emotions))
        centroids = np.stack([embeddings[majority == emotion].mean(axis=0) for emotion in emotions])

        def posterior(
            points: NDArray[np.floating], centroids: NDArray[np.float64] = centroids, sigma: float = embedder.sigma
        ) -> NDArray[np.float64]:
            return posterior_from(centroid_distances(points, centroids), sigma)

        on_training += posterior(embeddings) / len(arguments.networks)
        on_validation += posterior(embedder.embed(validation.images)) / len(arguments.networks)
    kept = held_out != UNLABELLED
    scores = classification_scores(held_out[kept], on_validation[kept].argmax(axis=1), training.emotions)
    recall = np.mean([scores["recall_per_class"][emotion] for emotion in FREQUENT])
    sys.stdout.write(f"accuracy {scores['accuracy']:.4f}, recall of six {recall:.4f}\n")
    posteriors = on_training.astype(np.float16)
    np.savez_compressed(arguments.output, names=np.array(training.names), posteriors=posteriors)


if __name__ == "__main__":
    main()
