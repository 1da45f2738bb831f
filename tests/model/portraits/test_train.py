from pathlib import Path

import numpy as np
import pytest

from mien.index.bundle.bundle import load_bundle
from mien.index.fitting.portraits import sub_class_gaussians
from mien.model.embedder.embedder import Embedder
from mien.model.emotions import labels
from mien.model.errors import DatasetError
from mien.model.portraits.config import PortraitConfig
from mien.model.portraits.network import PortraitNetwork
from mien.model.portraits.painter import PortraitPainter
from mien.model.portraits.train import Step, export_portraits, train_portraits
from tests.support.faces import MakeFaces
from tests.support.small_run import SmallRun

CONFIG = PortraitConfig(width=4, steps=12, batch_size=16, read_faces=8, learning_rate=5e-3)


def trained(
    small_run: SmallRun, make_faces: MakeFaces, config: PortraitConfig = CONFIG
) -> tuple[PortraitNetwork, list[Step]]:
    faces = make_faces(160, seed=1)
    embeddings = Embedder(small_run.network).embed(faces.images)
    steps: list[Step] = []
    network = train_portraits(
        faces.images,
        embeddings,
        labels(faces.votes),
        small_run.network,
        middles=embeddings[:8],
        gaussians=sub_class_gaussians(load_bundle(small_run.bundle)),
        config=config,
        on_step=steps.append,
    )
    return network, steps


def test_training_brings_portraits_nearer_to_their_points(small_run: SmallRun, make_faces: MakeFaces) -> None:
    _, steps = trained(
        small_run, make_faces, CONFIG.model_copy(update={"steps": 30, "reading_share": 0.2, "naming_share": 0.2})
    )
    assert [step.number for step in steps] == list(range(1, 31))
    assert np.mean([step.reading for step in steps[-8:]]) < np.mean([step.reading for step in steps[:8]])
    assert np.mean([step.naming for step in steps[-8:]]) < np.mean([step.naming for step in steps[:8]])


def test_same_seed_gives_the_same_portraits(small_run: SmallRun, make_faces: MakeFaces, tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    painted = []
    for name in ("a.onnx", "b.onnx"):
        network, _ = trained(small_run, make_faces)
        export_portraits(network, CONFIG, "0" * 64, tmp_path / name)
        painted.append(PortraitPainter(tmp_path / name).paint(points))
    np.testing.assert_array_equal(painted[0], painted[1])


def test_file_holds_the_settings(small_run: SmallRun, make_faces: MakeFaces, tmp_path: Path) -> None:
    export_portraits(PortraitNetwork(4).eval(), CONFIG, "ab" * 32, tmp_path / "x.onnx")
    painter = PortraitPainter(tmp_path / "x.onnx")
    assert painter.metadata["embedder_sha256"] == "ab" * 32
    assert PortraitConfig.model_validate(painter.metadata["training"]) == CONFIG
    assert list(tmp_path.iterdir()) == [tmp_path / "x.onnx"]


def test_faces_and_embeddings_must_be_as_many(small_run: SmallRun) -> None:
    with pytest.raises(DatasetError, match="got 3 for 2 faces"):
        train_portraits(
            np.zeros((2, 48, 48), np.uint8),
            np.zeros((3, 64), np.float32),
            np.zeros(2, int),
            small_run.network,
            middles=np.zeros((1, 64)),
            gaussians=sub_class_gaussians(load_bundle(small_run.bundle)),
            config=CONFIG,
        )
