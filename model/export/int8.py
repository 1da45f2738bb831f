"""Quantisation: an exported network with 8-bit weights and activations, which is smaller and on some CPUs faster.

Pairs of quantise and dequantise nodes (QDQ) around each operation, with ranges measured on training faces, as ONNX
Runtime recommends for convolutions on CPUs.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from mien.model.embedder.embedder import METADATA_KEY, Embedder
from mien.model.errors import DatasetError
from mien.model.export.metadata import replace_metadata
from mien.model.files import write_atomically

CALIBRATION_FACES: Final = 512
"""Faces on which the ranges of activations are measured; more faces change them little."""

FLOAT_CONVOLUTIONS: Final = 5
"""The first convolutions, which stay in float32: their values have the widest range, and their rounding errors affect
all others. On the first network that shipped, this halved the error and cost no time."""

_BATCH: Final = 32


class _Crops(CalibrationDataReader):  # type: ignore[misc]
    """Batches of crops for the calibrator."""

    def __init__(self, crops: NDArray[np.uint8], name: str, on_progress: Callable[[int, int], None]) -> None:
        self._batches = self._each(crops, name, on_progress)

    @staticmethod
    def _each(
        crops: NDArray[np.uint8], name: str, on_progress: Callable[[int, int], None]
    ) -> Iterator[dict[str, NDArray[np.uint8]]]:
        for start in range(0, len(crops), _BATCH):
            yield {name: crops[start : start + _BATCH]}
            on_progress(min(start + _BATCH, len(crops)), len(crops))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch by the input's name, or None at the end."""
        return next(self._batches, None)


def quantise(
    network: Path,
    crops: NDArray[np.uint8],
    output: Path,
    on_progress: Callable[[int, int], None] = lambda _, __: None,
) -> None:
    """Write an int8 form of an exported network, with the same input and output.

    Convolutions are quantised, with weights by channel. The first convolutions, the preprocessing and the head stay in
    float32: the head takes hardly any time, and rounded embeddings would have neighbours at equal distances.

    Args:
        network: an ONNX file that ``mien export`` wrote.
        crops: (n, 48, 48) uint8 faces of the training set, of which up to ``CALIBRATION_FACES`` are used.
        output: the ONNX file to write.
        on_progress: called with the number of faces measured and their total.

    Raises:
        EmbedderError: the file is no exported network.
        DatasetError: there are no faces.
    """
    if len(crops) == 0:
        raise DatasetError("quantisation needs faces to measure ranges on, got none")
    metadata = Embedder(network, provider="cpu").metadata
    chosen = crops[:: max(1, len(crops) // CALIBRATION_FACES)][:CALIBRATION_FACES]
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        prepared, draft = Path(folder) / "prepared.onnx", Path(folder) / output.name
        quant_pre_process(str(network), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
        quantize_static(
            str(prepared),
            str(draft),
            _Crops(chosen, graph.input[0].name, on_progress),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Clip", "Relu"],
            nodes_to_exclude=convolutions[:FLOAT_CONVOLUTIONS],
            per_channel=True,
            # 7-bit weights: CPUs with AVX2 but without VNNI add pairs of products in 16 bits, which 8 bits overflow.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        quantised = onnx.load(draft)
        replace_metadata(quantised, METADATA_KEY, metadata.model_copy(update={"precision": "int8"}).model_dump_json())
        with write_atomically(output) as file:
            file.write(quantised.SerializeToString())
