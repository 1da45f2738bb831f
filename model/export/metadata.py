"""What an ONNX file says besides what it computes: what mien has to say, and nothing of where it was made."""

import onnx


def replace_metadata(network: onnx.ModelProto, key: str, value: str) -> None:
    """Replace all metadata of a network by one entry.

    torch's exporter notes at each node the lines of code that made it, with the folders of whoever exported.
    """
    del network.metadata_props[:]
    onnx.helper.set_model_props(network, {key: value})
    graph = network.graph
    for each in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del each.metadata_props[:]
        each.doc_string = ""
    del graph.metadata_props[:]
    graph.doc_string = network.doc_string = ""
