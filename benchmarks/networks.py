r"""Exported networks side by side on FER+ validation and on photographs of the world: one row of a table each.

    python benchmarks/networks.py embedder.onnx other.onnx --data ferplus --world wild --studio photographs \
        --cache crops --table networks.csv

Photographs are listed in a table ``labels.csv`` (as for ``mien evaluate --dataset csv``). Their faces are cut out once
and kept in the folder of the cache.
"""

import argparse
import sys
from pathlib import Path

from mien.index.evaluation.networks import Yardstick, add_row, cached_crops, network_figures
from mien.model.datasets.ferplus import read_ferplus, read_near_copies
from mien.model.datasets.registry import read_dataset
from mien.model.embedder.embedder import Embedder
from mien.model.faces.detection import Detector
from mien.model.faces.reader import FaceReader


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
