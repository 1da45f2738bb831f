"""Reads the weights of an exported network, so that training can continue from it without its checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from mien.model.errors import ConfigError
from mien.model.networks.batchnorm import FoldedConvolution, unfold
from mien.model.networks.network import Network

_PREFIX: Final = "network."
"""Prefix of the network's arrays in ``mien.model.export.export.ExportedNetwork``."""

_QUANTISED: Final = "_quantized"
"""Suffix of the names of int8 weights, after which ``_scale`` gives the name of their scales."""


@torch.no_grad()
def load_weights(network: Network, path: Path, faces: Tensor) -> None:
    """Load the weights of a network that ``mien export --no-mirror`` or ``mien quantise`` wrote, its head included.

    Args:
        network: with the backbone ``mobilenet``; the side of its faces may be another.
        path: the ONNX file.
        faces: (n, 1, h, w) standardised faces, a few hundred, on which the normalisation is measured.

    Raises:
        ConfigError: the network has another backbone, the file cannot be read, or an array is missing or has another
            shape.
    """
    if network.config.backbone != "mobilenet":
        raise ConfigError(f"an exported network fits the backbone mobilenet, got {network.config.backbone}")
    arrays = exported_arrays(path)
    convolutions = []
    for number, layer in enumerate(network.stages):
        if isinstance(layer, nn.Conv2d):
            name = f"stages.{number}.weight"
            kernel = _array(path, arrays, name, layer.weight.shape)
            offset = _array(path, arrays, f"{name}_bias", layer.weight.shape[:1])
            convolutions.append(FoldedConvolution(kernel, torch.ones_like(offset), offset))
    network.head.weight.copy_(_array(path, arrays, "head.weight", network.head.weight.shape))
    network.head.bias.copy_(_array(path, arrays, "head.bias", network.head.bias.shape))
    unfold(network.stages, convolutions, faces)


def exported_arrays(path: Path) -> dict[str, Tensor]:
    """The network's arrays in an ONNX file by name, float32; int8 weights are multiplied by their scales.

    Raises:
        ConfigError: the file is no ONNX graph.
    """
    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # the errors of protobuf have no public base class
        raise ConfigError(f"{path} is no ONNX graph: {type(error).__name__}") from error
    arrays = {
        each.name: torch.from_numpy(numpy_helper.to_array(each).astype(np.float32))
        for each in graph.initializer
        if each.name.startswith(_PREFIX)
    }
    for name in [name for name in arrays if name.endswith(_QUANTISED)]:
        whole = name.removesuffix(_QUANTISED)
        scale = arrays.get(f"{name}_scale", arrays.get(f"{whole}_scale"))
        if scale is not None:  # by the first axis; the zero point of weights is zero
            arrays[whole] = arrays[name] * scale.view(-1, *(1,) * (arrays[name].ndim - 1))
    return arrays


def _array(path: Path, arrays: Mapping[str, Tensor], name: str, shape: torch.Size) -> Tensor:
    found = arrays.get(_PREFIX + name)
    if found is None or found.shape != shape:
        raise ConfigError(
            f"{path}: expected an array {_PREFIX}{name} of shape {tuple(shape)}, got "
            f"{'none' if found is None else tuple(found.shape)}: "
            "the network must be a mobilenet, exported without mirror, in float32 or int8"
        )
    return found
