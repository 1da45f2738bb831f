"""Frees the height and width of YuNet's ONNX file, as was done for the ``yunet.onnx`` that mien carries.

OpenCV Zoo distributes the network for images of 640x640 pixels, though nothing in it depends on their size. The file
that mien carries was made from ``face_detection_yunet_2023mar.onnx`` (SHA-256 8f2383e4dd3cfbb4...), which is in
https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet. Its MIT licence is in ``yunet.LICENSE``.
Another version of YuNet is converted in the same way:

    python -m mien.model.faces.yunet face_detection_yunet_2023mar.onnx yunet.onnx

It needs the package ``onnx``, which comes with the extra ``train``. ``mien.model.export.hints`` then added the output
``hints``; without it, a detector looks at whole pictures.
"""

from argparse import ArgumentParser
from pathlib import Path


def free_shapes(source: Path, target: Path) -> None:
    """Write the network of ``source`` to ``target`` with symbolic height and width; its weights stay as they are."""
    import onnx

    network = onnx.load(str(source))
    graph = network.graph
    _, _, height, width = graph.input[0].type.tensor_type.shape.dim
    height.dim_param, width.dim_param = "height", "width"
    for output in graph.output:  # (1, anchors, channels); there are more anchors in a larger image
        output.type.tensor_type.shape.dim[1].dim_param = f"anchors_{output.name.rpartition('_')[2]}"
    del graph.value_info[:]  # the shapes inside the graph, which ONNX Runtime infers again
    onnx.checker.check_model(network, full_check=True)
    onnx.save(network, str(target))


if __name__ == "__main__":
    parser = ArgumentParser(description="Free the height and width of YuNet's ONNX file.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    free_shapes(arguments.source, arguments.target)
