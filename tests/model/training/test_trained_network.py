from pathlib import Path

import pytest
import torch

from mien.model.errors import CheckpointError
from mien.model.networks.network import new_network
from mien.model.training.checkpoint import write_checkpoint
from mien.model.training.config import NetworkConfig, TrainingConfig
from mien.model.training.trained_network import load_network, mean_network

SMALL = NetworkConfig(widths=(8,), blocks=(1,))


def write(path: Path, seed: int, sigma: float, network: NetworkConfig = SMALL) -> Path:
    state = new_network(network, seed).state_dict()
    config = TrainingConfig(network=network, seed=seed).model_dump(mode="json")
    write_checkpoint(path, {"config": config, "network": state, "average": state, "sigma": sigma})
    return path


def test_the_mean_lies_halfway(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.pt", 1, 1.0), write(tmp_path / "b.pt", 2, 0.5)]
    found, config, sigma = mean_network(paths)
    one, other = (new_network(SMALL, seed).state_dict() for seed in (1, 2))
    for name, value in found.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (one[name] + other[name]) / 2)
    assert (config.seed, sigma) == (2, 0.75)
    assert not found.training


def test_one_checkpoint_is_its_own_mean(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", 1, 1.0)
    alone, mean = load_network(path), mean_network([path])
    assert alone[1:] == mean[1:]
    assert all(torch.equal(alone[0].state_dict()[name], value) for name, value in mean[0].state_dict().items())


def test_networks_of_different_shapes_have_no_mean(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "a.pt", 1, 1.0),
        write(tmp_path / "b.pt", 2, 1.0, NetworkConfig(widths=(4,), blocks=(1,))),
    ]
    with pytest.raises(CheckpointError, match=r"b\.pt holds a network of another shape than .*a\.pt"):
        mean_network(paths)
