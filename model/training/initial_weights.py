"""Initial weights of a training: those of a face recognition network, of an exported network, or of a checkpoint."""

import hashlib
from pathlib import Path

from torch import Tensor

from mien.model.errors import CheckpointError, ConfigError
from mien.model.networks import from_onnx, from_tfjs
from mien.model.networks.network import Network
from mien.model.training.checkpoint import config_of, read_checkpoint


def initial_sha256(path: Path) -> str:
    """The SHA-256 of initial weights, as hexadecimal digits.

    Raises:
        ConfigError: the file cannot be read.
    """
    file = from_tfjs.weights_file(path) if path.suffix == ".json" else path
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"initial weights cannot be read from {file}: {error.strerror}") from None


def load_initial_weights(network: Network, path: Path, faces: Tensor) -> None:
    """Load initial weights into a network.

    Args:
        network: the network that will be trained.
        path: ``.json`` for a face recognition network (``mien.model.networks.from_tfjs``), ``.onnx`` for a network that
            ``mien export`` wrote (``mien.model.networks.from_onnx``), otherwise a checkpoint, whose average is loaded.
        faces: (n, 1, h, w) standardised faces, a few hundred, on which normalisation is measured.

    Raises:
        ConfigError: a ``.json`` or ``.onnx`` file cannot be read, or has another shape than the network.
        CheckpointError: a checkpoint cannot be read, or has another shape than the network.
    """
    if path.suffix == ".json":
        from_tfjs.load_weights(network, path, faces)
        return
    if path.suffix == ".onnx":
        from_onnx.load_weights(network, path, faces)
        return
    state = read_checkpoint(path)
    config = config_of(path, state)
    if config.network.model_dump(exclude={"dropout", "side_px"}) != network.config.model_dump(
        exclude={"dropout", "side_px"}
    ):
        raise CheckpointError(f"{path} holds a network of another shape: {config.network}, not {network.config}")
    network.load_state_dict(state["average"])
