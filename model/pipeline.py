"""From the bytes of an image to the embeddings of its faces."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.model.embedder.embedder import Embedder
from mien.model.embedder.provider import Provider
from mien.model.faces.decoding import DEFAULT_LIMITS, DecodingLimits
from mien.model.faces.detection import Detector
from mien.model.faces.reader import Face, FaceReader


class Pipeline(FaceReader):
    """Decode, detect, align and embed.

    Thread-safe: one pipeline serves all threads of a process.
    """

    def __init__(
        self,
        detector: Detector,
        embedder: Embedder,
        limits: DecodingLimits = DEFAULT_LIMITS,
        max_faces: int | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            detector: finds the faces.
            embedder: embeds their crops.
            limits: of an image.
            max_faces: the largest faces of an image that are read, the rest are left out; None reads all.
        """
        super().__init__(detector, limits, max_faces)
        self.embedder = embedder

    def embed(self, faces: Sequence[Face]) -> NDArray[np.float32]:
        """(n, d) float32 embeddings of one or more faces."""
        return self.embedder.embed(np.stack([face.crop for face in faces]))


def load_pipeline(
    embedder: Path,
    *,
    detector: Path | None = None,
    limits: DecodingLimits = DEFAULT_LIMITS,
    max_faces: int | None = None,
    threads: int = 0,
    provider: Provider = "auto",
) -> Pipeline:
    """Load a pipeline from its files.

    Args:
        embedder: the exported network.
        detector: YuNet's ONNX file; None takes the one that mien carries.
        limits: of an image.
        max_faces: the largest faces of an image that are read; None reads all.
        threads: for the embedder; 0 leaves the choice to ONNX Runtime.
        provider: where the embedder runs.

    Raises:
        ArtifactError: a file is missing or broken.
        ConfigError: a GPU is required and cannot be used.
    """
    return Pipeline(Detector(detector), Embedder(embedder, threads=threads, provider=provider), limits, max_faces)
