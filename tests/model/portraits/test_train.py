from pathlib import Path

import numpy as np
import pytest

from mien.model.embedder.embedder import Embedder
from mien.model.emotions import labels
from mien.model.errors import DatasetError
from mien.model.portraits.averages import AverageFaces, to_greys
from mien.model.portraits.config import PortraitConfig
from mien.model.portraits.network import PortraitNetwork
from mien.model.portraits.painter import PortraitPainter
from mien.model.portraits.train import Step, export_portraits, train_portraits
from tests.support.faces import MakeFaces
from tests.support.small_run import SmallRun

CONFIG = PortraitConfig(width=32, components=16, neighbours=8, rounds=2, steps=60, batch_size=32)


def trained(
    small_run: SmallRun, make_faces: MakeFaces, config: PortraitConfig = CONFIG
) -> tuple[PortraitNetwork, AverageFaces, list[Step]]:
    faces, embedder = make_faces(160, seed=1), Embedder(small_run.network)
    embeddings = embedder.embed(faces.images)
    averages, steps = AverageFaces(faces.images, embeddings, config.neighbours), list[Step]()
    network = train_portraits(
        averages,
        embeddings,
        labels(faces.votes),
        embedder.embed,
        middles=embeddings[:8],
        config=config,
        on_step=steps.append,
    )
    return network, averages, steps


def test_portraits_are_the_averages_around_their_points(
    small_run: SmallRun, make_faces: MakeFaces, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"rounds": 1, "steps": 400})
    network, averages, steps = trained(small_run, make_faces, config)
    assert [step.number for step in steps] == list(range(1, 401))
    assert np.mean([step.loss for step in steps[-20:]]) < 0.3 * np.mean([step.loss for step in steps[:20]])
    export_portraits(network, config, "0" * 64, tmp_path / "x.onnx")
    points = Embedder(small_run.network).embed(make_faces(160, seed=1).images)[:8]
    painted = PortraitPainter(tmp_path / "x.onnx").paint(points).astype(float)
    wanted = to_greys(averages.around(points)).astype(float)
    off = np.abs(painted[:, None] - wanted).mean(axis=(2, 3))  # (8, 8): each portrait to each average
    np.testing.assert_array_equal(off.argmin(axis=1), np.arange(8))


def test_same_seed_gives_the_same_portraits(small_run: SmallRun, make_faces: MakeFaces, tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    painted = []
    for name in ("a.onnx", "b.onnx"):
        network, _, _ = trained(small_run, make_faces)
        export_portraits(network, CONFIG, "0" * 64, tmp_path / name)
        painted.append(PortraitPainter(tmp_path / name).paint(points))
    np.testing.assert_array_equal(painted[0], painted[1])


def test_file_holds_the_settings(tmp_path: Path) -> None:
    network = PortraitNetwork(CONFIG.width, CONFIG.components).eval()
    export_portraits(network, CONFIG, "ab" * 32, tmp_path / "x.onnx")
    painter = PortraitPainter(tmp_path / "x.onnx")
    assert painter.metadata["embedder_sha256"] == "ab" * 32
    assert PortraitConfig.model_validate(painter.metadata["training"]) == CONFIG
    assert list(tmp_path.iterdir()) == [tmp_path / "x.onnx"]


def test_points_and_labels_must_be_as_many(small_run: SmallRun) -> None:
    faces = AverageFaces(np.zeros((2, 48, 48), np.uint8), np.zeros((2, 64), np.float32), 2)
    with pytest.raises(DatasetError, match="got 2 for 3 points"):
        train_portraits(
            faces,
            np.zeros((3, 64), np.float32),
            np.zeros(2, int),
            Embedder(small_run.network).embed,
            middles=np.zeros((1, 64)),
            config=CONFIG,
        )
