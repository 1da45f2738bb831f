"""An exported network in torch, so that gradients flow through it to its input.

The graph is run node by node, which works for every backbone and every preprocessing that ``mien export`` writes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from mien.model.errors import EmbedderError

Values = list[Any]
Attributes = dict[str, Any]


class TorchGraph(nn.Module):
    """The graph of an ONNX file as a frozen function of one input.

    Attributes:
        input_name: of the graph's input.
        output_name: of the graph's output.
    """

    def __init__(self, path: Path) -> None:
        """Read a graph.

        Raises:
            EmbedderError: the file is no ONNX graph, or has an operation that is not implemented here.
        """
        super().__init__()
        try:
            graph = onnx.load(str(path)).graph
        except Exception as error:  # the errors of protobuf have no public base class
            raise EmbedderError(f"{path} is no ONNX graph: {type(error).__name__}") from error
        unknown = sorted({node.op_type for node in graph.node} - set(_OPERATIONS))
        if unknown:
            raise EmbedderError(f"{path} has operations that are not implemented in torch: {', '.join(unknown)}")
        self.input_name: str = graph.input[0].name
        self.output_name: str = graph.output[0].name
        self._constants = {
            each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer
        }
        self._steps = [
            (
                _OPERATIONS[node.op_type],
                list(node.input),
                node.output[0],
                {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute},
            )
            for node in graph.node
        ]

    def forward(self, graph_input: Tensor) -> Tensor:
        """The graph's output for its input, which may be float even if the graph declares uint8."""
        values: dict[str, Any] = {**self._constants, self.input_name: graph_input, "": None}
        for operation, inputs, output, attributes in self._steps:
            values[output] = operation([values[name] for name in inputs], attributes)
        found: Tensor = values[self.output_name]
        return found


def _average_pool(values: Values, attributes: Attributes) -> Any:
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right):
        raise EmbedderError(f"average pools in the graph must have symmetric padding, got {attributes['pads']}")
    return functional.avg_pool2d(
        values[0],
        tuple(attributes["kernel_shape"]),
        tuple(attributes.get("strides", [1, 1])),
        padding=(top, left),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        count_include_pad=bool(attributes.get("count_include_pad", 0)),
    )


def _normalise(values: Values, attributes: Attributes) -> Any:
    faces, weight, bias, mean, variance = values
    return functional.batch_norm(faces, mean, variance, weight, bias, eps=attributes.get("epsilon", 1e-5))


def _cast(values: Values, attributes: Attributes) -> Any:
    kinds = {onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.INT64: torch.int64}
    return values[0].to(kinds[attributes["to"]])


def _clip(values: Values, _: Attributes) -> Any:
    low, high = (*values[1:], None, None)[:2]
    return torch.clamp(values[0], None if low is None else float(low), None if high is None else float(high))


def _convolve(values: Values, attributes: Attributes) -> Any:
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    padded, padding = values[0], (top, left)
    if (top, left) != (bottom, right):
        padded, padding = functional.pad(values[0], (left, right, top, bottom)), (0, 0)
    return functional.conv2d(
        padded,
        values[1],
        values[2] if len(values) > 2 else None,
        stride=tuple(attributes.get("strides", [1, 1])),
        padding=padding,
        dilation=tuple(attributes.get("dilations", [1, 1])),
        groups=attributes.get("group", 1),
    )


def _quantise(values: Values, _: Attributes) -> Any:
    """Rounds, but passes gradients on as if it did not, since the gradient of a step is zero.

    Source: Bengio, Leonard, Courville: *Estimating or Propagating Gradients Through Stochastic Neurons*,
    arXiv 1308.3432 (the straight-through estimator).
    """
    faces, scale, zero = values
    limits = torch.iinfo(zero.dtype)
    steps = faces / scale + zero.to(torch.float32)
    return (steps + (steps.round() - steps).detach()).clamp(limits.min, limits.max)


def _dequantise(values: Values, attributes: Attributes) -> Any:
    steps, scale, zero = (each.to(torch.float32) for each in values)
    if scale.dim() == 1:  # one scale for each channel
        shape = [1] * steps.dim()
        shape[attributes.get("axis", 1)] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return (steps - zero) * scale


def _mean(values: Values, attributes: Attributes) -> Any:
    return values[0].mean(dim=tuple(values[1].tolist()), keepdim=bool(attributes.get("keepdims", 1)))


def _resize(values: Values, attributes: Attributes) -> Any:
    if attributes["mode"] != b"linear" or attributes["coordinate_transformation_mode"] != b"half_pixel":
        raise EmbedderError("resizes in the graph must be bilinear with half-pixel centres")
    size = tuple(values[3].tolist()[2:])
    return functional.interpolate(values[0], size=size, mode="bilinear", align_corners=False)


def _slice(values: Values, _: Attributes) -> Any:
    found, starts, ends, axes, steps = values[0], *(each.tolist() for each in values[1:5])
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == -1 and start == -1:
            found = found.flip(axis)
        else:
            found = found.narrow(axis, start, min(end, found.shape[axis]) - start)
    return found


def _unsqueeze(values: Values, _: Attributes) -> Any:
    found = values[0]
    for axis in sorted(values[1].reshape(-1).tolist()):
        found = found.unsqueeze(axis)
    return found


_OPERATIONS: Final[dict[str, Callable[[Values, Attributes], Any]]] = {
    "Add": lambda values, _: values[0] + values[1],
    "AveragePool": _average_pool,
    "BatchNormalization": _normalise,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda values, attributes: torch.cat(values, dim=attributes["axis"]),
    "Conv": _convolve,
    "DequantizeLinear": _dequantise,
    "Div": lambda values, _: values[0] / values[1],
    "Gemm": lambda values, _: functional.linear(values[0], values[1], values[2]),
    "Mul": lambda values, _: values[0] * values[1],
    "Pow": lambda values, _: values[0] ** values[1],
    "QuantizeLinear": _quantise,
    "ReduceMean": _mean,
    "Relu": lambda values, _: functional.relu(values[0]),
    "Resize": _resize,
    "Shape": lambda values, attributes: torch.tensor(
        values[0].shape[attributes.get("start", 0) : attributes.get("end", None)]
    ),
    "Slice": _slice,
    "Sqrt": lambda values, _: values[0].sqrt(),
    "Sub": lambda values, _: values[0] - values[1],
    "Unsqueeze": _unsqueeze,
}
