"""The whole offline path, for real but small: train, export and build a bundle on made faces."""

from dataclasses import dataclass
from pathlib import Path

import torch

from mien.index.fitting.build import build_bundle
from mien.model.export.export import export
from mien.model.networks.config import NetworkConfig
from mien.model.training.config import TrainingConfig
from mien.model.training.train import train
from tests.support.faces import make_faces, write_split


@dataclass(frozen=True)
class SmallRun:
    """The files of one run: FER+ folders, the checkpoint, the exported embedder and the bundle."""

    data: Path
    checkpoint: Path
    network: Path
    bundle: Path


def make_small_run(folder: Path) -> SmallRun:
    """Train a tiny network for four epochs, export it and build its bundle; takes some seconds."""
    training, validation = make_faces(320, seed=1), make_faces(80, seed=2)
    write_split(folder / "data", "Training", training)
    write_split(folder / "data", "PublicTest", validation)
    config = TrainingConfig(
        network=NetworkConfig(widths=(8, 16), blocks=(1, 1), dropout=0.0), epochs=4, batch_size=32, warmup_epochs=0.0
    )
    checkpoint = train(training, validation, config, folder / "run", device=torch.device("cpu"))
    export(checkpoint, folder / "embedder.onnx")
    build_bundle(folder / "embedder.onnx", training, folder / "bundle")
    return SmallRun(folder / "data", checkpoint, folder / "embedder.onnx", folder / "bundle")
