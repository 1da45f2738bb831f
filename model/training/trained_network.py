"""The network that trainings left: out of their checkpoints, ready to embed."""

from collections.abc import Sequence
from pathlib import Path

import torch

from mien.model.errors import CheckpointError
from mien.model.networks.network import Network
from mien.model.training.checkpoint import config_of, read_checkpoint
from mien.model.training.config import TrainingConfig


def load_network(checkpoint: Path) -> tuple[Network, TrainingConfig, float]:
    """The averaged network of a checkpoint, in evaluation mode, how it was trained, and the sigma it ended with.

    Raises:
        CheckpointError: the file is missing, broken, or of another version.
    """
    state = read_checkpoint(checkpoint)
    config = config_of(checkpoint, state, TrainingConfig)
    network = Network(config.network)
    network.load_state_dict(state["average"])
    # The first checkpoints had a fixed sigma only.
    return network.eval(), config, float(state.get("sigma", config.sigma))


def mean_network(checkpoints: Sequence[Path]) -> tuple[Network, TrainingConfig, float]:
    """The mean of several networks' weights, one of which was trained on from the other.

    A network that was trained on with another aim gains what that aim asks for and loses some of what it had; the
    mean of before and after keeps most of both. Source: Wortsman et al.: *Robust Fine-tuning of Zero-shot Models*,
    arXiv 2109.01903.

    Args:
        checkpoints: one or more, of networks of the same shape.

    Returns:
        The network in evaluation mode, how the last of them was trained, and the mean of the sigmas they ended with.

    Raises:
        CheckpointError: a file cannot be used, or the networks differ in shape.
    """
    networks, configs, sigmas = zip(*(load_network(checkpoint) for checkpoint in checkpoints), strict=True)
    for checkpoint, config in zip(checkpoints, configs, strict=True):
        if config.network != configs[0].network:
            raise CheckpointError(f"{checkpoint} holds a network of another shape than {checkpoints[0]}")
    mean: Network = networks[-1]
    states = [network.state_dict() for network in networks]
    mean.load_state_dict(
        {
            name: torch.stack([state[name] for state in states]).mean(dim=0) if last.is_floating_point() else last
            for name, last in states[-1].items()
        }
    )
    return mean, configs[-1], sum(sigmas) / len(sigmas)
