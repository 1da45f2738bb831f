"""What training resumes from: one file of tensors and numbers, written whole or not at all."""

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
    """Write ``state``, tensors and plain values, to ``path``, whole or not at all.

    Raises:
        CheckpointError: it could not be written, for a full disk for example; an earlier checkpoint stays as it was.
    """
    try:
        with write_atomically(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:  # torch reports what the disk says as a RuntimeError
        kept = "the one before stays" if path.exists() else "there is none yet"
        raise CheckpointError(f"the checkpoint {path} could not be written ({kept}): {error}") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what ``write_checkpoint`` wrote, without running code from the file.

    Raises:
        CheckpointError: the file is missing, broken, or no checkpoint of mien.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {path}") from None
    except Exception as error:  # torch.load raises whatever its unpickler meets
        raise CheckpointError(f"{path} is not a checkpoint of mien: {type(error).__name__}") from error
    if not isinstance(state, dict) or not {"config", "network", "average"} <= state.keys():
        raise CheckpointError(f"{path} is not a checkpoint of mien: it lacks the network or its configuration")
    return state


def config_of(path: Path, state: dict[str, Any]) -> TrainingConfig:
    """The configuration inside a checkpoint.

    Raises:
        CheckpointError: it is not a configuration of this version of mien.
    """
    try:
        return TrainingConfig.model_validate(state["config"])
    except ValidationError as error:
        raise CheckpointError(f"{path} was made by another version of mien: {first_fault(error)}") from None


def load_network(checkpoint: Path) -> tuple[Network, TrainingConfig, float]:
    """The averaged network of a checkpoint, in evaluation mode, how it was trained, and the sigma it ended with.

    Raises:
        CheckpointError: the file is missing, broken, or of another version.
    """
    state = read_checkpoint(checkpoint)
    config = config_of(checkpoint, state)
    network = Network(config.network)
    network.load_state_dict(state["average"])
    # The first checkpoints had a fixed sigma only.
    return network.eval(), config, float(state.get("sigma", config.sigma))


def average_checkpoints(checkpoints: Sequence[Path], output: Path) -> None:
    """Write the mean of several networks' weights, each trained on from the one before, as a checkpoint.

    A network that was trained on with another aim gains what that aim asks for and loses some of what it had; the
    mean of before and after keeps most of both. Source: Wortsman et al.: *Robust Fine-tuning of Zero-shot Models*,
    arXiv 2109.01903.

    Args:
        checkpoints: at least two, of networks of the same shape.
        output: the checkpoint to write: with the mean of the weights and of the sigmas, and the configuration of the
            last of the checkpoints. It can be exported and trained on from, but not resumed.

    Raises:
        CheckpointError: there are fewer than two, a file cannot be used, or the networks differ in shape.
    """
    if len(checkpoints) < 2:
        raise CheckpointError(f"an average is of at least 2 checkpoints, got {len(checkpoints)}")
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
    """How many checkpoints' weights a checkpoint averages; 1 for one that training wrote.

    Raises:
        CheckpointError: the file is missing, broken, or of another version.
    """
    return int(read_checkpoint(checkpoint).get("averaged_checkpoints", 1))
