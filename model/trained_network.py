"""The network that a training left: out of its checkpoint, ready to embed."""

from pathlib import Path

from model.checkpoint import config_of, read_checkpoint
from model.configuration import TrainingConfig
from model.network import Network


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
