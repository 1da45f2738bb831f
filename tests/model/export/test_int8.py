from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from mien.model.embedder.embedder import Embedder
from mien.model.errors import DatasetError, EmbedderError
from mien.model.export.export import export
from mien.model.export.int8 import FLOAT_CONVOLUTIONS, quantise
from mien.model.networks.config import NetworkConfig
from mien.model.networks.network import new_network
from mien.model.networks.preprocessing import prepare
from mien.model.training.checkpoint import write_checkpoint
from mien.model.training.config import TrainingConfig

# Large enough that the smaller weights save more than QDQ adds to the graph.
CONFIG = TrainingConfig(network=NetworkConfig(widths=(32, 128), blocks=(2, 2)))


Crops = NDArray[np.uint8]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, crops: Crops) -> Path:
    folder = tmp_path_factory.mktemp("network")
    drawn = new_network(CONFIG.network, seed=0).train()
    for layer in drawn.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():  # normalisation fits the layers' inputs, so that embeddings of different faces differ
        drawn(prepare(torch.from_numpy(crops), CONFIG.network.side_px))
    state = drawn.state_dict()
    checkpoint = folder / "checkpoint.pt"
    write_checkpoint(checkpoint, {"config": CONFIG.model_dump(mode="json"), "network": state, "average": state})
    export(checkpoint, folder / "embedder.onnx", mirror=False)
    return folder / "embedder.onnx"


@pytest.fixture(scope="module")
def crops() -> Crops:
    """Ramps in all directions with some noise, which reach every channel."""
    generator = np.random.default_rng(0)
    across = np.linspace(-1, 1, 48)
    slopes = generator.normal(0, 60, (64, 2))
    ramps = 128 + slopes[:, :1, None] * across[None, :, None] + slopes[:, 1:, None] * across[None, None, :]
    return (ramps + generator.normal(0, 12, ramps.shape)).clip(0, 255).astype(np.uint8)


def test_int8_is_smaller_and_close(network: Path, crops: Crops, tmp_path: Path) -> None:
    output = tmp_path / "int8.onnx"
    quantise(network, crops, output)
    assert output.stat().st_size < 0.6 * network.stat().st_size
    exact, rounded = Embedder(network), Embedder(output)
    expected, found = exact.embed(crops), rounded.embed(crops)
    spread = np.linalg.norm(expected - expected.mean(axis=0), axis=1).mean()
    assert 0 < np.linalg.norm(found - expected, axis=1).mean() < 0.3 * spread
    assert rounded.metadata == exact.metadata.model_copy(update={"precision": "int8"})
    assert exact.metadata.precision == "float32"
    graph = onnx.load(output).graph
    quantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert [node.input[1] in quantised for node in convolutions] == [False] * FLOAT_CONVOLUTIONS + [True] * (
        len(convolutions) - FLOAT_CONVOLUTIONS
    )
    assert [file.name for file in tmp_path.iterdir()] == ["int8.onnx"]


def test_quantisation_without_faces_is_refused(network: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="got none"):
        quantise(network, np.zeros((0, 48, 48), dtype=np.uint8), tmp_path / "int8.onnx")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(EmbedderError, match="is not a network"):
        quantise(path, np.zeros((1, 48, 48), dtype=np.uint8), tmp_path / "int8.onnx")
