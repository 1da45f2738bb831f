"""Metadata of ONNX files: mien's entry, and nothing about the machine that exported them."""

import onnx


def replace_metadata(network: onnx.ModelProto, key: str, value: str) -> None:
    """Replace all metadata of a network by one entry.

    torch's exporter notes the lines of code of each node, with the paths of the machine.
    """
    del network.metadata_props[:]
    onnx.helper.set_model_props(network, {key: value})
    graph = network.graph
    for each in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del each.metadata_props[:]
        each.doc_string = ""
    del graph.metadata_props[:]
    graph.doc_string = network.doc_string = ""
