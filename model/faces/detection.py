"""Face detection: YuNet on ONNX Runtime.

Source: Wu, Peng, Yu: *YuNet: A Tiny Millisecond-level Face Detector*, Machine Intelligence Research 20 (2023).
``mien.model.faces.yunet`` says where the network's file comes from.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from mien.model.errors import DetectorError
from mien.model.faces.candidates import STRIDES, Detection, decode_outputs, merge
from mien.model.faces.search import MIN_SIDE_PX, SEEN_PX, FaceSearch

__all__ = ["MIN_SIDE_PX", "YUNET", "Detection", "Detector", "merge"]

YUNET: Final = Path(__file__).with_name("yunet.onnx")
"""The detector that mien carries."""


class Detector:
    """Finds faces.

    Thread-safe: one detector serves all threads of a process.

    Attributes:
        min_score: detections with a lower score are left out.
    """

    def __init__(self, path: Path | None = None, *, threads: int = 1, min_score: float = 0.6) -> None:
        """Load the network.

        Args:
            path: YuNet's ONNX file, with free height and width; None takes the one that mien carries.
            threads: for one detection; 0 leaves the choice to ONNX Runtime.
            min_score: detections with a lower score are left out; from 0 to 1.

        Raises:
            DetectorError: the file is missing, is not YuNet, or takes images of one size only.
        """
        self.min_score = min_score
        self._session = _load(YUNET if path is None else path, threads)
        has_hints = _HINTS in {output.name for output in self._session.get_outputs()}
        self._outputs = (*_OUTPUTS, _HINTS) if has_hints else _OUTPUTS

    def detect(
        self,
        image: NDArray[np.uint8],
        max_faces: int | None = None,
        size: tuple[int, int] | None = None,
        *,
        min_seen_px: int = SEEN_PX[0],
    ) -> list[Detection]:
        """Find the faces of an image.

        Args:
            image: (h, w, 3) uint8 RGB, of any size.
            max_faces: the largest faces that matter, others may be missing; None for all.
            size: width and height of the picture that the image is reduced from; None where it is not reduced.
            min_seen_px: as of ``FaceSearch``.

        Returns:
            The faces, largest box first, in pixels of that picture; may be empty.
        """
        size = size or (image.shape[1], image.shape[0])
        search = FaceSearch(self._look, image, size, self.min_score, max_faces, min_seen_px=min_seen_px)
        while search.next_px:
            search.look()
        return search.faces()

    def candidates(self, picture: Image.Image) -> NDArray[np.float32]:
        """Run the network once on an RGB picture as it is.

        Returns:
            (n, 15) box (x, y, width, height), landmarks (five times x, y) and score, in pixels of ``picture``, before
            ``merge``.
        """
        return self._look(picture, self.min_score)[0]

    def _look(self, picture: Image.Image, min_score: float) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        width, height = picture.size
        canvas = network_input(picture)
        outputs = dict(zip(self._outputs, self._session.run(list(self._outputs), {"input": canvas}), strict=True))
        hints = (
            outputs[_HINTS][0, 0, : -(-height // STRIDES[0]), : -(-width // STRIDES[0])] if _HINTS in outputs else None
        )
        return decode_outputs(outputs, canvas.shape[3], min_score), hints


_OUTPUTS: Final = tuple(f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in STRIDES)

_HINTS: Final = "hints"
"""Output of the network that mien carries; without it, pictures are looked at as a whole."""


def _load(path: Path, threads: int) -> Any:
    if not path.is_file():
        raise DetectorError(f"{path}: expected YuNet's ONNX file, found none")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False  # it would keep a memory plan for every image size
    options.log_severity_level = 4  # errors are raised, not printed
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  ONNX Runtime's errors have no common base class
        raise DetectorError(f"{path}: expected YuNet's ONNX file, got one that does not load ({error})") from None
    names = {output.name for output in session.get_outputs()}
    if not names.issuperset(_OUTPUTS):
        raise DetectorError(f"{path}: expected YuNet's outputs {', '.join(_OUTPUTS)}, got {', '.join(sorted(names))}")
    shape = session.get_inputs()[0].shape
    if any(isinstance(side, int) for side in shape[2:]):
        raise DetectorError(
            f"{path}: expected YuNet for images of any height and width, got one whose input is {shape}; "
            "`python -m mien.model.faces.yunet` frees its shapes"
        )
    return session


def network_input(picture: Image.Image) -> NDArray[np.float32]:
    """(1, 3, h, w) blue, green and red from 0 to 255: an RGB picture, zeros beyond it up to multiples of 32 pixels."""
    width, height = picture.size
    rows, columns = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in (height, width))
    canvas = np.empty((1, 3, rows, columns), np.float32)
    canvas[:, :, height:], canvas[:, :, :, width:] = 0, 0
    for channel, band in enumerate(reversed(picture.split())):
        canvas[0, channel, :height, :width] = np.asarray(band)
    return canvas
