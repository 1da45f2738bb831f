"""Paints portraits, the average faces of points of the embedding space, on ONNX Runtime.

They can be shown for a gallery that keeps no photographs, since they show no real person.
"""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from mien.model.errors import EmbedderError

FORMAT_VERSION: Final = 1
"""Version of the metadata inside the exported portrait network."""

METADATA_KEY: Final = "mien_portraits"

BATCH_FACES: Final = 256


class PortraitPainter:
    """Embeddings to grey faces. Thread-safe.

    Attributes:
        metadata: of the file: format, sizes, the hash of its embedder, training settings.
        embedding_size: d, the dimensions of an embedding.
        side_px: height and width of a portrait, in pixels.
    """

    def __init__(self, path: Path) -> None:
        """Load a portrait network.

        Raises:
            EmbedderError: the file is missing, broken, or was not written by ``mien portraits``.
        """
        if not path.is_file():
            raise EmbedderError(f"no portrait network at {path}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the network is too small for several threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the errors of ONNX Runtime have no public base class
            raise EmbedderError(f"{path} is no network that ONNX Runtime can load: {type(error).__name__}") from error
        self.metadata = _metadata(self._session.get_modelmeta().custom_metadata_map, path)
        self.embedding_size = int(self.metadata["embedding_size"])
        self.side_px = int(self.metadata["side_px"])
        self._input: str = self._session.get_inputs()[0].name

    def paint(self, embeddings: NDArray[np.floating]) -> NDArray[np.uint8]:
        """(n, side_px, side_px) uint8 faces of (n, d) embeddings.

        Raises:
            ValueError: ``embeddings`` has another shape.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.embedding_size:
            raise ValueError(f"expected embeddings (n, {self.embedding_size}), got {embeddings.shape}")
        faces = np.empty((len(embeddings), self.side_px, self.side_px), dtype=np.uint8)
        for start in range(0, len(embeddings), BATCH_FACES):
            batch = embeddings[start : start + BATCH_FACES].astype(np.float32)
            faces[start : start + len(batch)] = self._session.run(None, {self._input: batch})[0]
        return faces


def _metadata(properties: dict[str, str], path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(properties[METADATA_KEY])
        version = content["format_version"]
        _ = content["embedding_size"], content["side_px"], content["embedder_sha256"]
    except (KeyError, ValueError, TypeError):
        raise EmbedderError(f"{path} was not written by mien portraits: it lacks its metadata") from None
    if version != FORMAT_VERSION:
        raise EmbedderError(f"{path} has format version {version}, this version of mien reads {FORMAT_VERSION}")
    return content
