"""Half precision: an exported network whose convolutions run in float16, for the matrix units of GPUs.

Nodes before the first convolution (the standardisation of faces) and after the last (the head, whose rounding would
give neighbours equal distances) stay in float32. The converter of ONNX Runtime is not used: it also rounds the values
between nodes that it is told to leave in float32, such as the embeddings.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mien.model.embedder.embedder import METADATA_KEY, Embedder
from mien.model.errors import EmbedderError
from mien.model.export.metadata import replace_metadata
from mien.model.files import write_atomically

_SUFFIXES: Final = {TensorProto.FLOAT16: "_in_float16", TensorProto.FLOAT: "_in_float32"}


def convert_to_float16(network: Path, output: Path) -> None:
    """Write a float16 form of an exported network, with the same input and output.

    Args:
        network: an ONNX file that ``mien export`` wrote, in float32.
        output: the ONNX file to write.

    Raises:
        EmbedderError: the file is no exported network, or not in float32.
    """
    metadata = Embedder(network, provider="cpu").metadata
    if metadata.precision != "float32":
        raise EmbedderError(f"{network}: expected a network in float32, got one in {metadata.precision}")
    halved = onnx.shape_inference.infer_shapes(onnx.load(network))
    _convert(halved.graph)
    replace_metadata(halved, METADATA_KEY, metadata.model_copy(update={"precision": "float16"}).model_dump_json())
    onnx.checker.check_model(halved)
    with write_atomically(output) as file:
        file.write(halved.SerializeToString())


def between_convolutions(nodes: Iterable[onnx.NodeProto]) -> set[int]:
    """Indices of the convolutions of a graph and of all nodes between two of them.

    Args:
        nodes: of the graph, in their order.
    """
    listed = list(enumerate(nodes))
    convolutions = [(place, node) for place, node in listed if node.op_type == "Conv"]
    flowing = {value for _, node in convolutions for value in node.output}
    behind = set()
    for place, node in listed:
        if flowing.intersection(node.input):
            behind.add(place)
            flowing.update(node.output)
    wanted = {value for _, node in convolutions for value in node.input}
    before = set()
    for place, node in reversed(listed):
        if wanted.intersection(node.output):
            before.add(place)
            wanted.update(node.input)
    return {place for place, _ in convolutions} | (behind & before)


def _convert(graph: onnx.GraphProto) -> None:
    """Convert the nodes between convolutions to float16, and add casts at both ends."""
    weights = {each.name: each for each in graph.initializer}
    kinds = {each.name: each.type.tensor_type.elem_type for each in (*graph.input, *graph.value_info, *graph.output)}
    floats = {name for name, each in weights.items() if each.data_type == TensorProto.FLOAT}
    floats |= {name for name, kind in kinds.items() if kind == TensorProto.FLOAT}
    halves = between_convolutions(graph.node)
    made_half = {value for place in halves for value in graph.node[place].output if value in floats}
    there = set(weights)
    nodes: list[onnx.NodeProto] = []
    for place, node in enumerate(list(graph.node)):
        kind = TensorProto.FLOAT16 if place in halves else TensorProto.FLOAT
        for number, value in enumerate(node.input):
            is_half = value in made_half
            if value not in floats or is_half == (place in halves):
                continue
            node.input[number] = cast = f"{value}{_SUFFIXES[kind]}"
            if cast in there:
                continue
            there.add(cast)
            if value in weights:
                array = numpy_helper.to_array(weights[value]).astype(np.float16)
                graph.initializer.append(numpy_helper.from_array(array, cast))
            else:
                nodes.append(helper.make_node("Cast", [value], [cast], to=kind))
        nodes.append(node)
    used = {value for node in nodes for value in node.input}
    kept = [each for each in graph.initializer if each.name in used]
    for part, content in ((graph.node, nodes), (graph.initializer, kept)):
        del part[:]
        part.extend(content)
    del graph.value_info[:]
