"""Batches of one size whose input and output keep their places in a device's memory (I/O binding).

ONNX Runtime otherwise takes new memory for both on each call. Where batches are large and all alike, as when a data set
or a cluster's parcels are embedded, they are copied into the same place again and again.
"""

from threading import Lock

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class BoundBatch:
    """A network bound to memory. Thread-safe; one batch at a time."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        *,
        device: str,
    ) -> None:
        """Take memory for one batch.

        Args:
            session: of a network with one input, uint8, and one output, float32.
            input_shape: of a batch.
            output_shape: of what comes of it.
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
        """What the network gives for a batch of the bound shape."""
        with self._lock:
            self._input.update_inplace(np.ascontiguousarray(batch))
            self.run_in_place()
            found: NDArray[np.float32] = self._output.numpy().copy()  # on the CPU it is the bound memory itself
        return found

    def run_in_place(self) -> None:
        """Run on what is in the device's memory, and leave the result there."""
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
