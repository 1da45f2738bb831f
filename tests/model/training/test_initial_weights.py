from pathlib import Path

import pytest
import torch

from mien.model.errors import CheckpointError, ConfigError
from mien.model.networks.config import NetworkConfig
from mien.model.networks.network import new_network
from mien.model.training.checkpoint import write_checkpoint
from mien.model.training.config import TrainingConfig
from mien.model.training.initial_weights import initial_sha256, load_initial_weights

CONFIG = TrainingConfig(network=NetworkConfig(widths=(8,), blocks=(1,), dropout=0.0))
FACES = torch.zeros(2, 1, 48, 48)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pt"
    state = new_network(CONFIG.network, seed=1).state_dict()
    average = new_network(CONFIG.network, seed=2).state_dict()
    write_checkpoint(path, {"config": CONFIG.model_dump(mode="json"), "network": state, "average": average})
    return path


def test_checkpoint_gives_its_averaged_network(checkpoint: Path) -> None:
    # Dropout and side may differ.
    network = new_network(CONFIG.network.model_copy(update={"dropout": 0.3, "side_px": 64}), seed=3)
    load_initial_weights(network, checkpoint, FACES)
    expected = new_network(CONFIG.network, seed=2).state_dict()
    assert all(torch.equal(found, expected[name]) for name, found in network.state_dict().items())


def test_checkpoint_of_another_shape_is_refused(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a network of another shape"):
        load_initial_weights(new_network(NetworkConfig(widths=(8, 8), blocks=(1, 1)), seed=0), checkpoint, FACES)


def test_sha256_of_weights(checkpoint: Path, tmp_path: Path) -> None:
    again = tmp_path / "copy.pt"
    again.write_bytes(checkpoint.read_bytes())
    assert initial_sha256(again) == initial_sha256(checkpoint)
    description = tmp_path / "face.json"
    description.write_text("{}")
    description.with_suffix(".bin").write_bytes(checkpoint.read_bytes())
    assert initial_sha256(description) == initial_sha256(checkpoint)  # the weights, not their description


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    for name, missing in (("none.pt", "none.pt"), ("none.json", "none.bin")):
        with pytest.raises(ConfigError, match=f"initial weights cannot be read from .*{missing}"):
            initial_sha256(tmp_path / name)
