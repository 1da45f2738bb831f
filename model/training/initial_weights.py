"""What a network starts from: random weights, those of a face network, of an exported one, or of an earlier run."""

import hashlib
from pathlib import Path

from torch import Tensor

from mien.model.errors import CheckpointError, ConfigError
from mien.model.networks import from_onnx, from_tfjs
from mien.model.networks.network import Network
from mien.model.training.checkpoint import config_of, read_checkpoint


def initial_sha256(path: Path) -> str:
    """The SHA-256 of the weights at ``path``, as hexadecimal digits.

    Raises:
        ConfigError: they cannot be read.
    """
    file = from_tfjs.weights_file(path) if path.suffix == ".json" else path
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"initial weights cannot be read from {file}: {error.strerror}") from None


def load_initial_weights(network: Network, path: Path, faces: Tensor) -> None:
    """Give a network its initial weights.

    Args:
        network: the one that is to be trained.
        path: ``.json``: a face network (``mien.model.networks.from_tfjs``); ``.onnx``: what ``mien export`` wrote
            (``mien.model.networks.from_onnx``); anything else: a checkpoint of mien, whose averaged network is taken.
        faces: (n, 1, h, w) standardised faces, some hundred of them.

    Raises:
        ConfigError: the face network or exported network cannot be read, or is of another shape.
        CheckpointError: the checkpoint cannot be read, or is of another shape.
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
