"""How intensity agrees with the raters of FER+ validation: Spearman's rank correlation with the share of their votes.

    python benchmarks/intensity.py ../shared/data/ferplus

A row for each emotion: over the faces that mien names so, and over all faces that most raters called so or neutral, in
which the emotion goes from absent to clear. The last column has the posterior in place of the intensity.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from mien.index.bundle.bundle import load_bundle
from mien.index.bundle.default import default_bundle
from mien.index.mixture.mixture import NEUTRAL
from mien.model.datasets.ferplus import read_ferplus, read_near_copies
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import EMOTIONS, distribution


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of FER+")
    parser.add_argument("--bundle", type=Path, default=default_bundle(), help="default: the one that ships")
    arguments = parser.parse_args()

    bundle = load_bundle(arguments.bundle)
    mixture = bundle.mixture
    faces = read_near_copies(arguments.data).without_leaks(read_ferplus(arguments.data, "PublicTest"))
    shares = distribution(faces.votes)
    rated = shares.sum(axis=1) > 0
    shares = shares[rated]
    points = Embedder(bundle.embedder_path).embed(faces.images[rated])
    named, posterior, called = (
        mixture.distances(points).argmin(axis=1),
        mixture.posterior(points),
        shares.argmax(axis=1),
    )
    rows = np.arange(len(points))
    sys.stdout.write(
        "| | faces named so | correlation | faces called so or neutral | correlation | posterior, named so |\n"
        "|---|---|---|---|---|---|\n"
    )
    neutral = EMOTIONS.index(NEUTRAL)
    for label, name in enumerate(EMOTIONS):
        if label == neutral:
            continue
        intensity = mixture.intensity(points, np.full(len(points), label))
        own, either = named == label, (called == label) | (called == neutral)
        figures = [
            spearmanr(values, shares[own, label]).statistic for values in (intensity[own], posterior[own, label])
        ]
        apart = spearmanr(intensity[either], shares[either, label]).statistic
        sys.stdout.write(
            f"| {name} | {own.sum()} | {figures[0]:.2f} | {either.sum()} | {apart:.2f} | {figures[1]:.2f} |\n"
        )
    some = named != neutral
    agreed = shares[rows, named][some]
    overall = [
        spearmanr(values[some], agreed).statistic
        for values in (mixture.intensity(points, named), posterior.max(axis=1))
    ]
    sys.stdout.write(f"| all | {some.sum()} | {overall[0]:.2f} | | | {overall[1]:.2f} |\n")


if __name__ == "__main__":
    main()
