"""Identity leakage of the embedding that ships, and of the face network whose weights its training started from.

    python benchmarks/identity.py ../shared/data/london-faces --initial-weights package/models/faceres.json

The folder has a table ``labels.csv`` with the columns image, label and subject, and people with more than one
expression. The face network was made to tell people apart: its row says how much of that there is to find in these
photographs. Needs the extra ``train``.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from mien.index.bundle.default import default_bundle
from mien.index.evaluation.scores.identity import identity_leakage
from mien.model.datasets.registry import read_dataset
from mien.model.networks.config import NetworkConfig
from mien.model.networks.from_tfjs import load_weights
from mien.model.networks.network import new_network
from mien.model.networks.preprocessing import prepare
from mien.model.pipeline import load_pipeline


def main() -> None:
    """Print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="folder with labels.csv")
    parser.add_argument("--bundle", type=Path, default=default_bundle(), help="default: the one that ships")
    parser.add_argument("--initial-weights", type=Path, help="the face network, faceres.json")
    parser.add_argument("--side-px", type=int, default=224, help="of the faces it sees (default: 224)")
    arguments = parser.parse_args()

    photographs = read_dataset("csv", arguments.photographs)
    if photographs.subjects is None:
        parser.error("labels.csv must have a column subject")
    pipeline = load_pipeline(arguments.bundle / "embedder.onnx", max_faces=1)
    faces = [pipeline.read_faces(path.read_bytes())[0] for path in photographs.paths]
    subjects = np.unique(photographs.subjects, return_inverse=True)[1]
    rows = {"mien": pipeline.embed(faces)}
    if arguments.initial_weights:
        network = new_network(NetworkConfig(backbone="mobilenet", side_px=arguments.side_px), seed=0)
        pixels = prepare(torch.from_numpy(np.stack([face.crop for face in faces])), arguments.side_px)
        load_weights(network, arguments.initial_weights, pixels)
        network.eval()
        with torch.inference_mode():
            rows["face network"] = network.stages(pixels).mean(dim=(2, 3)).numpy()
    sys.stdout.write("| embedding | AUROC | recall@1 | by chance | people |\n| --- | --- | --- | --- | --- |\n")
    for name, embeddings in rows.items():
        leakage = identity_leakage(embeddings, subjects, photographs.labels)
        sys.stdout.write(
            f"| {name} | {leakage.auroc:.3f} | {leakage.recall_at_1:.3f} | {leakage.chance_at_1:.3f} "
            f"| {leakage.people} |\n"
        )


if __name__ == "__main__":
    main()
