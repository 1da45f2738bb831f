"""Checkpoints, from which training resumes: files of tensors and plain values, written atomically."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from mien.model.errors import CheckpointError, first_fault
from mien.model.files import write_atomically
from mien.model.networks.network import Network
from mien.model.training.config import TrainingConfig


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state``, which holds tensors and plain values, to ``path``.

    Raises:
        CheckpointError: the file cannot be written, as on a full disk; an earlier checkpoint stays as it was.
    """
    try:
        with write_atomically(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError for errors of the disk
        earlier = "the one before stays" if path.exists() else "there is none yet"
        raise CheckpointError(f"the checkpoint {path} could not be written ({earlier}): {error}") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file of ``write_checkpoint``, without running code from it.

    Raises:
        CheckpointError: the file is missing, broken, or not a checkpoint of mien.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {path}") from None
    except Exception as error:  # torch.load raises errors of many kinds
        raise CheckpointError(f"{path} is not a checkpoint of mien: {type(error).__name__}") from error
    if not isinstance(state, dict) or not {"config", "network", "average"} <= state.keys():
        raise CheckpointError(f"{path} is not a checkpoint of mien: it lacks the network or its configuration")
    return state


def config_of(path: Path, state: dict[str, Any]) -> TrainingConfig:
    """The training settings in a checkpoint.

    Raises:
        CheckpointError: they are not settings of this version of mien.
    """
    try:
        return TrainingConfig.model_validate(state["config"])
    except ValidationError as error:
        raise CheckpointError(f"{path} was made by another version of mien: {first_fault(error)}") from None


def load_network(checkpoint: Path) -> tuple[Network, TrainingConfig, float]:
    """The averaged network of a checkpoint in evaluation mode, its training settings, and its last sigma.

    Raises:
        CheckpointError: the file is missing, broken, or of another version.
    """
    state = read_checkpoint(checkpoint)
    config = config_of(checkpoint, state)
    network = Network(config.network)
    network.load_state_dict(state["average"])
    # The first versions had no state of sigma, which was always fixed.
    return network.eval(), config, float(state.get("sigma", config.sigma))


def average_checkpoints(checkpoints: Sequence[Path], output: Path) -> None:
    """Write a checkpoint with the mean of several networks' weights, each fine-tuned from the one before.

    A network that is fine-tuned for another objective gets better at it and worse at the earlier one; the mean of the
    weights before and after keeps most of both. Source: Wortsman et al.: *Robust Fine-tuning of Zero-shot Models*,
    arXiv 2109.01903.

    Args:
        checkpoints: at least two, of networks of the same shape.
        output: the checkpoint to write, with the mean of the weights and of the sigmas, and the settings of the last
            checkpoint. It can be exported and serve as initial weights, but not be resumed.

    Raises:
        CheckpointError: there are fewer than two, a file cannot be used, or the networks differ in shape.
    """
    if len(checkpoints) < 2:
        raise CheckpointError(f"an average needs at least 2 checkpoints, got {len(checkpoints)}")
    networks, configs, sigmas = zip(*(load_network(checkpoint) for checkpoint in checkpoints), strict=True)
    for checkpoint, config in zip(checkpoints, configs, strict=True):
        if config.network != configs[0].network:
            raise CheckpointError(f"{checkpoint} holds a network of another shape than {checkpoints[0]}")
    states = [network.state_dict() for network in networks]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(dim=0) if last.is_floating_point() else last
        for name, last in states[-1].items()
    }
    write_checkpoint(
        output,
        {
            "config": configs[-1].model_dump(mode="json"),
            "network": mean,
            "average": mean,
            "sigma": sum(sigmas) / len(sigmas),
            "averaged_checkpoints": sum(map(count_averaged, checkpoints)),
        },
    )


def count_averaged(checkpoint: Path) -> int:
    """The number of checkpoints whose weights were averaged in a checkpoint; 1 for one that training wrote.

    Raises:
        CheckpointError: the file is missing, broken, or of another version.
    """
    return int(read_checkpoint(checkpoint).get("averaged_checkpoints", 1))
