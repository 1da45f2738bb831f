r"""Exported networks side by side on FER+ validation and on photographs of the world: one row of a table each.

    python benchmarks/networks.py embedder.onnx other.onnx --data ferplus --world wild --studio photographs \
        --cache crops --table networks.csv

Photographs are listed in a table ``labels.csv`` (as for ``mien evaluate --dataset csv``). Their faces are cut out once
and kept in the folder of the cache.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.scores.classification import FREQUENT, classification_scores
from mien.index.evaluation.transfer import labelled_crops, rank_leave_one_out
from mien.index.mixture.mixture import centroid_distances, posterior_from
from mien.model.datasets.base import LabelledPhotographs
from mien.model.datasets.ferplus import LabelledFaces, NearCopies, read_ferplus, read_near_copies
from mien.model.datasets.registry import read_dataset
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import EMOTIONS, UNLABELLED, labels
from mien.model.errors import DatasetError
from mien.model.faces.detection import Detector
from mien.model.faces.reader import FaceReader

WORLD_EMOTIONS: Final = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust")
"""The emotions with more than 90 photographs in the set of the world that runs are compared on."""

PRIOR_POWERS: Final = (0.0, -0.5)
"""Powers of the emotions' shares of Training by which the posterior is multiplied: none, and half divided out."""

Row = dict[str, float]


@dataclass(frozen=True)
class CroppedPhotographs:
    """The labelled faces of a data set before they are embedded: cut out once, for any number of networks.

    Attributes:
        labels: (m,) int64 indices into the emotions, of the photographs in which the labelled face was found.
        crops: (m, side, side) uint8.
        skipped: how many other photographs there are.
    """

    labels: NDArray[np.int64]
    crops: NDArray[np.uint8]
    skipped: int


@dataclass(frozen=True)
class Yardstick:
    """What every network is measured on.

    Attributes:
        training: FER+ Training, for the centroids.
        validation: FER+ validation.
        near_copies: of both.
        world: photographs of the world.
        studio: studio photographs, of which right answers are counted.
    """

    training: LabelledFaces
    validation: LabelledFaces
    near_copies: NearCopies
    world: CroppedPhotographs
    studio: CroppedPhotographs


def cached_crops(reader: FaceReader, photographs: LabelledPhotographs, cache: Path) -> CroppedPhotographs:
    """The face crops of a data set, read from the file ``cache``, or cut out and written to it.

    Args:
        reader: finds the faces.
        photographs: the data set.
        cache: an ``.npz`` file.

    Raises:
        DatasetError: no photograph could be used, or the file holds those of another set.
    """
    if not cache.is_file():
        rows, crops, skipped = labelled_crops(reader, photographs)
        np.savez_compressed(cache, labels=photographs.labels[rows], crops=crops, skipped=len(skipped))
    with np.load(cache) as kept:
        found = CroppedPhotographs(kept["labels"], kept["crops"], int(kept["skipped"]))
    if len(found.labels) + found.skipped != len(photographs):
        raise DatasetError(
            f"{cache} must hold the {len(photographs)} photographs of {photographs.name}, "
            f"got {len(found.labels) + found.skipped}"
        )
    return found


def network_figures(
    embedder: Embedder,
    yardstick: Yardstick,
    *,
    faces_of_each: int | None = None,
    on_progress: Callable[[int, int], None] = lambda _, __: None,
) -> Row:
    """The figures of one network.

    Args:
        embedder: the network.
        yardstick: what it is measured on.
        faces_of_each: Training faces of each emotion that its centroid is the mean of; None takes all.
        on_progress: called with the number of Training faces embedded, and their total.

    Returns:
        Names of figures and their values. Those that end with a power are under a prior: the posterior is multiplied
        by the emotions' shares of Training to this power. The others are by the nearest centroid.

    Raises:
        DatasetError: an emotion has no Training face with a strict majority.
    """
    centroids, weights = _centroids(embedder, yardstick.training, faces_of_each, on_progress)
    kept = yardstick.near_copies.without_leaks(yardstick.validation)
    kept = kept.take(labels(kept.votes) != UNLABELLED)
    held_out, world, studio = (
        embedder.embed(crops) for crops in (kept.images, yardstick.world.crops, yardstick.studio.crops)
    )
    row: Row = {}
    for power in PRIOR_POWERS:
        ending = f"@{power:g}" if power else ""

        def emotions_of(embeddings: NDArray[np.float32], power: float = power) -> NDArray[np.int64]:
            logits = np.log(posterior_from(centroid_distances(embeddings, centroids), embedder.sigma) + 1e-30)
            return np.asarray((logits + power * np.log(weights)).argmax(axis=1))

        accuracy, recalls = _naming(labels(kept.votes), emotions_of(held_out))
        row |= {f"fer accuracy{ending}": accuracy, f"fer recall of six{ending}": _mean(recalls, FREQUENT)}
        accuracy, recalls = _naming(yardstick.world.labels, emotions_of(world))
        row |= {f"world accuracy{ending}": accuracy, f"world recall of six{ending}": _mean(recalls, WORLD_EMOTIONS)}
        row |= {f"world {emotion}{ending}": recalls.get(emotion, float("nan")) for emotion in WORLD_EMOTIONS}
        row[f"studio right{ending}"] = int((emotions_of(studio) == yardstick.studio.labels).sum())
    groups = yardstick.near_copies.groups_of(kept.names)
    row["fer recall@1"], row["fer mAP"] = _retrieval(held_out, labels(kept.votes), groups)
    alone = np.arange(len(world))
    row["world recall@1"], row["world mAP"] = _retrieval(world, yardstick.world.labels, alone)
    return row | {"world not found": yardstick.world.skipped, "studio not found": yardstick.studio.skipped}


def add_row(path: Path, network: str, row: Mapping[str, float]) -> None:
    """Add the row of a network to a CSV table; a new table gets a heading.

    Raises:
        DatasetError: the table has other columns.
    """
    text = {"network": network} | {name: f"{value:.4f}".rstrip("0").rstrip(".") for name, value in row.items()}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            heading = next(csv.reader(file), [])
        if heading != list(text):
            raise DatasetError(f"{path} must have the columns {', '.join(text)}, got {', '.join(heading)}")
    is_new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(text))
        if is_new:
            writer.writeheader()
        writer.writerow(text)


def _centroids(
    embedder: Embedder, training: LabelledFaces, faces_of_each: int | None, on_progress: Callable[[int, int], None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(c, d) means of the Training faces with a strict majority, and the (c,) shares of the emotions among all."""
    majority = labels(training.votes)
    counts = np.bincount(majority[majority != UNLABELLED], minlength=len(EMOTIONS))
    if counts.min() == 0:
        raise DatasetError(f"each emotion must have a Training face, got none of {EMOTIONS[int(counts.argmin())]}")
    generator = np.random.default_rng(0)
    rows = np.concatenate(
        [generator.permutation(np.flatnonzero(majority == emotion))[:faces_of_each] for emotion in range(len(EMOTIONS))]
    )
    embeddings = embedder.embed(training.images[rows], on_progress).astype(np.float64)
    centroids = np.stack([embeddings[majority[rows] == emotion].mean(axis=0) for emotion in range(len(EMOTIONS))])
    return centroids, counts / counts.sum()


def _naming(emotions: NDArray[np.int64], predicted: NDArray[np.int64]) -> tuple[float, dict[str, float]]:
    """Accuracy, and the recall of each emotion that occurs."""
    scores = classification_scores(emotions, predicted, EMOTIONS)
    return scores["accuracy"], {
        name: recall for name, recall in scores["recall_per_class"].items() if recall is not None
    }


def _mean(recalls: Mapping[str, float], names: tuple[str, ...]) -> float:
    present = [recalls[name] for name in names if name in recalls]
    return float(np.mean(present)) if present else float("nan")


def _retrieval(
    embeddings: NDArray[np.float32], emotions: NDArray[np.int64], groups: NDArray[np.int64]
) -> tuple[float, float]:
    """Leave-one-out recall@1 and mAP; faces of one group are passed over."""
    scores = rank_leave_one_out(EMOTIONS, embeddings, emotions, groups)
    return scores["recall_at_1"], scores["mean_average_precision"]


def main() -> None:
    """Measure every network, print its figures and add them to the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, nargs="+", help="exported networks")
    parser.add_argument("--data", type=Path, required=True, help="FER+ folder")
    parser.add_argument("--world", type=Path, required=True, help="photographs of the world, with labels.csv")
    parser.add_argument("--studio", type=Path, required=True, help="studio photographs, with labels.csv")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the faces cut out of photographs")
    parser.add_argument("--table", type=Path, required=True, help="CSV file that rows are added to")
    parser.add_argument("--faces-of-each", type=int, help="Training faces of each emotion for centroids (default: all)")
    parser.add_argument("--name", help="of the row (default: the network's folder and file)")
    arguments = parser.parse_args()

    arguments.cache.mkdir(parents=True, exist_ok=True)
    reader = FaceReader(Detector())
    yardstick = Yardstick(
        read_ferplus(arguments.data, "Training"),
        read_ferplus(arguments.data, "PublicTest"),
        read_near_copies(arguments.data),
        cached_crops(reader, read_dataset("csv", arguments.world), arguments.cache / "world.npz"),
        cached_crops(reader, read_dataset("csv", arguments.studio), arguments.cache / "studio.npz"),
    )
    for path in arguments.networks:
        row = network_figures(Embedder(path, provider="cpu"), yardstick, faces_of_each=arguments.faces_of_each)
        name = arguments.name or f"{path.resolve().parent.name}/{path.name}"
        add_row(arguments.table, name, row)
        sys.stdout.write("\n".join([name, *(f"{figure}: {value:.4f}" for figure, value in row.items())]) + "\n\n")


if __name__ == "__main__":
    main()
