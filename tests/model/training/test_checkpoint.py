import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from mien.model.errors import CheckpointError
from mien.model.networks.config import NetworkConfig
from mien.model.networks.network import new_network
from mien.model.training.checkpoint import (
    average_checkpoints,
    config_of,
    count_averaged,
    load_network,
    read_checkpoint,
    write_checkpoint,
)
from mien.model.training.config import TrainingConfig
from mien.model.training.state import Run


class Trap:
    """Unpickling it with ``weights_only=False`` writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def state(value: float = 1.0) -> dict[str, Any]:
    weights = {"weight": torch.full((3, 2), value)}
    return {"config": {"epochs": 3}, "network": weights, "average": weights, "epoch": 2, "reports": [{"loss": 0.5}]}


def test_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "checkpoint.pt"
    write_checkpoint(path, state(0.25))
    found = read_checkpoint(path)
    assert torch.equal(found["network"]["weight"], torch.full((3, 2), 0.25))
    assert found["epoch"] == 2
    assert found["reports"] == [{"loss": 0.5}]
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]


def test_error_in_the_middle_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, state(1.0))
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        write_checkpoint(path, state(2.0) | {"cannot be pickled": lambda: None})
    assert path.read_bytes() == before
    write_checkpoint(path, state(3.0))  # the failed attempt does not disturb the next
    assert float(read_checkpoint(path)["network"]["weight"][0, 0]) == 3.0


def test_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*absent\.pt"):
        read_checkpoint(tmp_path / "absent.pt")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_checkpoint_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, state())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match="is not a checkpoint of mien"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n", b"hello", pickle.dumps({"config": 1})])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a checkpoint of mien"):
        read_checkpoint(path)


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a checkpoint of mien"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("lost", ["config", "network", "average"])
def test_tensors_without_their_configuration_are_refused(tmp_path: Path, lost: str) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, {key: value for key, value in state().items() if key != lost})
    with pytest.raises(CheckpointError, match="lacks the network or its configuration"):
        read_checkpoint(path)


def test_reading_runs_no_code_from_the_file(tmp_path: Path) -> None:
    path, sprung = tmp_path / "checkpoint.pt", tmp_path / "sprung"
    write_checkpoint(path, state() | {"trap": Trap(sprung)})
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not sprung.exists()
    torch.load(path, weights_only=False)  # the trap itself works
    assert sprung.exists()


def test_configuration_is_read_back(tmp_path: Path) -> None:
    config = TrainingConfig(epochs=3, seed=7)
    assert config_of(tmp_path, state() | {"config": config.model_dump(mode="json")}) == config


@pytest.mark.parametrize(
    ("config", "field"),
    [({"epochs": "many"}, "epochs"), ({"epochs": 3, "depth": 1}, "depth"), ({"network": {"widths": [8]}}, "network")],
)
def test_configuration_of_another_version_names_the_field(tmp_path: Path, config: dict[str, Any], field: str) -> None:
    with pytest.raises(CheckpointError, match=f"another version of mien: {field}"):
        config_of(tmp_path, state() | {"config": config})


@contextmanager
def full_disk() -> Iterator[None]:
    """Limit files of this process to 4 kB, so that the system reports an error as for a full disk.

    No fixture: pytest reports a test before it takes fixtures down, maybe to a file that has 4 kB already.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(path, state())
    large = state() | {"network": {"weight": torch.zeros(10_000)}}
    with (
        full_disk(),
        pytest.raises(CheckpointError, match=r"checkpoint\.pt could not be written \(the one before stays\)"),
    ):
        write_checkpoint(path, large)
    assert read_checkpoint(path)["epoch"] == 2
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]  # no temporary file is left
    with full_disk(), pytest.raises(CheckpointError, match="there is none yet"):
        write_checkpoint(tmp_path / "first.pt", large)


SMALL = NetworkConfig(widths=(8,), blocks=(1,))


def write_network(path: Path, seed: int, sigma: float, network: NetworkConfig = SMALL) -> Path:
    state = new_network(network, seed).state_dict()
    config = TrainingConfig(network=network, seed=seed).model_dump(mode="json")
    write_checkpoint(path, {"config": config, "network": state, "average": state, "sigma": sigma})
    return path


def test_average_lies_halfway(tmp_path: Path) -> None:
    paths = [write_network(tmp_path / "a.pt", 1, 1.0), write_network(tmp_path / "b.pt", 2, 0.5)]
    average_checkpoints(paths, tmp_path / "mean.pt")
    found, config, sigma = load_network(tmp_path / "mean.pt")
    one, other = (new_network(SMALL, seed).state_dict() for seed in (1, 2))
    for name, value in found.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (one[name] + other[name]) / 2)
    assert (config.seed, sigma) == (2, 0.75)
    assert not found.training
    assert [count_averaged(path) for path in (*paths, tmp_path / "mean.pt")] == [1, 1, 2]


def test_average_of_a_checkpoint_with_itself_is_that_checkpoint(tmp_path: Path) -> None:
    path = write_network(tmp_path / "a.pt", 1, 1.0)
    average_checkpoints([path, path], tmp_path / "mean.pt")
    alone, mean = load_network(path), load_network(tmp_path / "mean.pt")
    assert alone[1:] == mean[1:]
    assert all(torch.equal(alone[0].state_dict()[name], value) for name, value in mean[0].state_dict().items())


def test_one_checkpoint_has_no_average(tmp_path: Path) -> None:
    path = write_network(tmp_path / "a.pt", 1, 1.0)
    with pytest.raises(CheckpointError, match="at least 2 checkpoints, got 1"):
        average_checkpoints([path], tmp_path / "mean.pt")


def test_networks_of_different_shapes_have_no_average(tmp_path: Path) -> None:
    paths = [
        write_network(tmp_path / "a.pt", 1, 1.0),
        write_network(tmp_path / "b.pt", 2, 1.0, NetworkConfig(widths=(4,), blocks=(1,))),
    ]
    with pytest.raises(CheckpointError, match=r"b\.pt holds a network of another shape than .*a\.pt"):
        average_checkpoints(paths, tmp_path / "mean.pt")
    assert not (tmp_path / "mean.pt").exists()


def test_average_cannot_be_resumed(tmp_path: Path) -> None:
    path = write_network(tmp_path / "a.pt", 1, 1.0)
    average_checkpoints([path, path], tmp_path / "mean.pt")
    run = Run.start(TrainingConfig(network=SMALL, seed=1), torch.device("cpu"))
    with pytest.raises(CheckpointError, match="holds no run that can go on"):
        run.restore(tmp_path / "mean.pt")
