from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from mien.model.embedder.embedder import METADATA_KEY, Embedder
from mien.model.errors import ConfigError, DatasetError
from mien.model.export.export import export
from mien.model.export.join import PrincipalAxes, join
from mien.model.export.metadata import replace_metadata
from mien.model.networks.config import NetworkConfig
from mien.model.networks.network import new_network
from mien.model.training.checkpoint import write_checkpoint
from mien.model.training.config import TrainingConfig

Crops = NDArray[np.uint8]


def exported(path: Path, side_px: int, seed: int) -> Path:
    config = TrainingConfig(network=NetworkConfig(widths=(4, 8), blocks=(1, 1), side_px=side_px))
    state = new_network(config.network, seed=seed).state_dict()
    checkpoint = path.with_suffix(".pt")
    write_checkpoint(checkpoint, {"config": config.model_dump(mode="json"), "network": state, "average": state})
    export(checkpoint, path, mirror=False)
    return path


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("members")
    return [exported(folder / "first.onnx", 48, seed=0), exported(folder / "second.onnx", 32, seed=1)]


@pytest.fixture(scope="module")
def crops() -> Crops:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(200, 1, 6, 6, generator=generator)
    return (torch.nn.functional.interpolate(coarse, size=(48, 48), mode="bilinear")[:, 0] * 255).byte().numpy()


def with_metadata(source: Path, target: Path, **changes: object) -> Path:
    graph = onnx.load(source)
    changed = Embedder(source).metadata.model_copy(update=changes)
    replace_metadata(graph, METADATA_KEY, changed.model_dump_json())
    onnx.save(graph, target)
    return target


def squared(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(((embeddings[:, None].astype(np.float64) - embeddings[None]) ** 2).sum(axis=2))


def test_squared_distances_are_means_of_the_members(networks: list[Path], crops: Crops, tmp_path: Path) -> None:
    wide = with_metadata(networks[1], tmp_path / "wide.onnx", sigma=2.0)
    kept = join([networks[0], wide], crops, tmp_path / "joint.onnx")
    joint = Embedder(tmp_path / "joint.onnx")
    first, second = (Embedder(path).embed(crops) for path in networks)
    expected = (squared(first) + squared(second) / 2**2) / 2
    assert 0.99 < kept <= 1
    assert squared(joint.embed(crops)) == pytest.approx(expected, abs=2 * (1 - kept) * expected.max() + 1e-3)
    assert joint.embed(crops[:1]) == pytest.approx(joint.embed(crops)[:1], abs=1e-4)


def test_joint_network_says_what_it_was_made_from(networks: list[Path], crops: Crops, tmp_path: Path) -> None:
    join(networks, crops, tmp_path / "joint.onnx")
    metadata = Embedder(tmp_path / "joint.onnx").metadata
    assert [each["network"]["side_px"] for each in metadata.training["members"]] == [48, 32]
    assert (metadata.sigma, metadata.checkpoints, metadata.embedding_size) == (1.0, 2, 64)
    assert "48x48" in metadata.preprocessing["inside_the_graph"]
    assert "32x32" in metadata.preprocessing["inside_the_graph"]
    assert [path.name for path in tmp_path.iterdir()] == ["joint.onnx"]


def test_principal_axes_keep_the_directions_of_most_variance() -> None:
    generator = np.random.default_rng(0)
    points = (generator.normal(size=(50, 3)) * (5, 1, 0.1) + 7).astype(np.float32)
    axes = PrincipalAxes.of(points, 2)
    assert axes.axes.T @ axes.axes == pytest.approx(np.eye(2), abs=1e-5)
    assert np.abs(axes.axes[:, 0]) == pytest.approx([1, 0, 0], abs=0.1)
    assert axes.kept == pytest.approx(1 - points.var(axis=0)[2] / points.var(axis=0).sum(), abs=1e-3)


def test_networks_that_do_not_fit_are_refused(networks: list[Path], crops: Crops, tmp_path: Path) -> None:
    other = with_metadata(networks[1], tmp_path / "other.onnx", emotions=("neutral", "joy"))
    output = tmp_path / "joint.onnx"
    with pytest.raises(ConfigError, match="two networks or more, got 1"):
        join(networks[:1], crops, output)
    with pytest.raises(ConfigError, match=r"must have the same emotions, got .*other\.onnx"):
        join([networks[0], other], crops, output)
    with pytest.raises(DatasetError, match="got 100 faces for 128 dimensions"):
        join(networks, crops[:100], output)
    half = with_metadata(networks[1], tmp_path / "half.onnx", precision="float16")
    with pytest.raises(ConfigError, match="must have the same precision"):
        join([networks[0], half], crops, output)
    assert not output.exists()
