from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from mien.model.errors import ConfigError
from mien.model.export.export import export
from mien.model.export.int8 import quantise
from mien.model.networks.config import NetworkConfig
from mien.model.networks.from_onnx import exported_arrays
from mien.model.networks.network import Network, new_network
from mien.model.training.checkpoint import write_checkpoint
from mien.model.training.config import TrainingConfig
from mien.model.training.initial_weights import load_initial_weights
from tests.support.small_run import SmallRun

CONFIG = TrainingConfig(network=NetworkConfig(backbone="mobilenet", side_px=32, dropout=0.0))


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return torch.randn(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network(faces: torch.Tensor) -> Network:
    """A MobileNet whose normalisation has statistics, and changes its input."""
    drawn = new_network(CONFIG.network, seed=1).train()
    generator = torch.Generator().manual_seed(1)
    for layer in drawn.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=generator)
            nn.init.uniform_(layer.bias, 0.0, 1.0, generator=generator)
    with torch.no_grad():
        drawn(faces)
        drawn.head.weight.mul_(0.1)  # embeddings as small as those of a trained network
    return drawn.eval()


@pytest.fixture(scope="module")
def exported(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, state = tmp_path_factory.mktemp("exported"), network.state_dict()
    checkpoint = folder / "checkpoint.pt"
    write_checkpoint(checkpoint, {"config": CONFIG.model_dump(mode="json"), "network": state, "average": state})
    export(checkpoint, folder / "embedder.onnx", mirror=False)
    return folder / "embedder.onnx"


@torch.no_grad()
def test_loaded_network_computes_what_the_exported_one_does(
    network: Network, exported: Path, faces: torch.Tensor
) -> None:
    other = new_network(CONFIG.network.model_copy(update={"side_px": 48}), seed=2)
    load_initial_weights(other, exported, faces)
    for mode in (False, True):  # the statistics of the batch are those that were kept
        other.train(mode)
        torch.testing.assert_close(other(faces), network(faces), atol=1e-3, rtol=1e-3)
    # It can be trained on: the normalisations know what comes into them.
    assert all(
        layer.running_mean is not None and layer.running_mean.abs().max() > 0
        for layer in other.modules()
        if isinstance(layer, nn.BatchNorm2d)
    )


def test_int8_form_gives_the_weights_within_their_rounding(exported: Path, faces: torch.Tensor, tmp_path: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (32, 48, 48), dtype=np.uint8)
    quantise(exported, crops, tmp_path / "int8.onnx")
    rounded, original = exported_arrays(tmp_path / "int8.onnx"), exported_arrays(exported)
    for name, exact in original.items():
        channels = exact.reshape(len(exact), -1)
        error = (rounded[name].reshape(channels.shape) - channels).abs().amax(dim=1)
        # Kernels are rounded to 64 steps up to the largest of their channel; offsets are hardly rounded at all.
        rounding = channels.abs().amax(dim=1) / 63 / 2 if exact.ndim > 1 else channels.abs().max() / 100
        most = rounding + 1e-4
        assert (error <= most).all(), name
    other = new_network(CONFIG.network, seed=2)
    load_initial_weights(other, tmp_path / "int8.onnx", faces)
    torch.testing.assert_close(other.head.weight, rounded["network.head.weight"])


def test_another_backbone_is_refused(exported: Path, faces: torch.Tensor) -> None:
    residual = new_network(NetworkConfig(widths=(8,), blocks=(1,)), seed=0)
    with pytest.raises(ConfigError, match="fits the backbone mobilenet, got residual"):
        load_initial_weights(residual, exported, faces)


def test_export_of_another_kind_is_refused(small_run: SmallRun, faces: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match=r"expected an array network.* must be a mobilenet, exported"):
        load_initial_weights(new_network(CONFIG.network, seed=0), small_run.network, faces)


def test_missing_array_is_named(exported: Path, tmp_path: Path, faces: torch.Tensor) -> None:
    graph = onnx.load(str(exported))
    kept = [each for each in graph.graph.initializer if each.name != "network.head.bias"]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    path = tmp_path / "headless.onnx"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ConfigError, match=r"network\.head\.bias of shape \(64,\), got none"):
        load_initial_weights(new_network(CONFIG.network, seed=0), path, faces)


def test_files_that_are_not_onnx_are_refused(tmp_path: Path, faces: torch.Tensor) -> None:
    path = tmp_path / "embedder.onnx"
    path.write_bytes(b"\xff\xff")
    with pytest.raises(ConfigError, match="is no ONNX graph"):
        load_initial_weights(new_network(CONFIG.network, seed=0), path, faces)
