"""How well an expression is named that the network was never taught: small networks, each trained without an emotion.

    python benchmarks/unseen_expression.py ../shared/data/ferplus --emotions surprise anger

A network learns the other seven emotions; the eighth is added to its mixture from a few faces of Training, and all are
scored on validation. For comparison, the same network learns all eight.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from mien.index.fitting.adaptation import AdaptationFaces, adapt_mixture
from mien.index.mixture.mixture import fit_mixture
from mien.model.datasets.ferplus import LabelledFaces, read_ferplus, read_near_copies
from mien.model.emotions import EMOTIONS, UNLABELLED, labels
from mien.model.networks.config import NetworkConfig
from mien.model.training.checkpoint import load_network
from mien.model.training.config import TrainingConfig
from mien.model.training.train import train
from mien.model.training.validation import embed_with

COUNTS = (5, 10, 20)
DRAWS = 10
CPU = torch.device("cpu")


def score(training: LabelledFaces, validation: LabelledFaces, emotion: str, config: TrainingConfig) -> list[str]:
    """The recall of an emotion, and of the others, with a network that does not know it, and with one that does."""
    column, wanted = EMOTIONS.index(emotion), labels(validation.votes)
    cells = [emotion]
    for knows in (False, True):
        seen = training if knows else training.take(labels(training.votes) != column)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = train(seen, validation.take(wanted != column), config, Path(folder), device=CPU)
            network, _, sigma = load_network(checkpoint)
        points = embed_with(network, training.images, CPU).numpy()
        queries = embed_with(network, validation.images, CPU).numpy()
        truth = labels(training.votes)
        rest = tuple(name for name in EMOTIONS if name != emotion)
        names = (*rest, emotion)
        order = np.array([names.index(name) for name in EMOTIONS])
        known = truth != column
        mixture = fit_mixture(points[known], order[truth[known]], rest, sigma)
        generator = np.random.default_rng(0)
        for count in COUNTS:
            recalls = []
            for _ in range(DRAWS):
                rows = generator.choice(np.flatnonzero(~known), count, replace=False)
                faces = AdaptationFaces(points[rows], np.full(count, len(rest)), np.arange(count), names)
                adapted = adapt_mixture(mixture, faces, points[known][::50]).mixture
                right = adapted.distances(queries).argmin(axis=1) == order[wanted]
                recalls.append((right[wanted == column].mean(), right[wanted != column].mean()))
            recall, others = np.mean(recalls, axis=0)
            cells.append(f"{recall:.2f} / {others:.2f}")
    return cells


def main() -> None:
    """Print a row for each emotion: recall of it and of the others, from 5, 10 and 20 faces."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="The folder of FER+.")
    parser.add_argument("--emotions", nargs="+", choices=EMOTIONS, default=EMOTIONS)
    parser.add_argument("--every", type=int, default=4, help="Train on every n-th face.")
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()
    training = read_ferplus(arguments.data, "Training")
    validation = read_near_copies(arguments.data).without_leaks(read_ferplus(arguments.data, "PublicTest"))
    training, validation = (each.take(labels(each.votes) != UNLABELLED) for each in (training, validation))
    training = training.take(np.arange(0, len(training), arguments.every))
    config = TrainingConfig(
        network=NetworkConfig(widths=(16, 32, 64, 128)), epochs=arguments.epochs, early_share=1, protocol="majority"
    )
    for emotion in arguments.emotions:
        sys.stdout.write(f"| {' | '.join(score(training, validation, emotion, config))} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
