"""I/O binding: batches of one size reuse the same memory of a device for their input and output.

ONNX Runtime otherwise allocates both on each call. It pays where many large batches of the same size are embedded, as
for a data set or an import by a cluster.
"""

from threading import Lock

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class BoundBatch:
    """A network bound to the memory of one batch. Thread-safe; runs one batch at a time."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        *,
        device: str,
    ) -> None:
        """Allocate the memory.

        Args:
            session: of a network with one input, uint8, and one output, float32.
            input_shape: of a batch.
            output_shape: of its result.
            device: ``cuda`` or ``cpu``.
        """
        self._session = session
        self._lock = Lock()
        self._input = onnxruntime.OrtValue.ortvalue_from_shape_and_type(input_shape, np.uint8, device, 0)
        self._output = onnxruntime.OrtValue.ortvalue_from_shape_and_type(output_shape, np.float32, device, 0)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(session.get_inputs()[0].name, self._input)
        self._binding.bind_ortvalue_output(session.get_outputs()[0].name, self._output)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The network's output for a batch of the bound shape."""
        with self._lock:
            self._input.update_inplace(np.ascontiguousarray(batch))
            self.run_in_place()
            found: NDArray[np.float32] = (
                self._output.numpy().copy()
            )  # on the CPU, numpy() is a view of the bound memory
        return found

    def run_in_place(self) -> None:
        """Run on the input in the device's memory; the output stays there, too."""
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
