"""The embedder: the exported network, with its preprocessing, on ONNX Runtime."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mien.model.embedder.io_binding import BoundBatch
from mien.model.embedder.provider import Provider
from mien.model.embedder.session import CUDA, open_session
from mien.model.errors import ConfigError, EmbedderError, first_fault
from mien.model.faces.alignment import SIDE_PX

FORMAT_VERSION: Final = 1
"""Version of the metadata inside an exported network."""

METADATA_KEY: Final = "mien"
"""The key of mien's JSON object in the metadata of an ONNX file."""

BATCH_FACES: Final = 8
"""Faces in one run of the network for each of its threads: what it computes of so many stays in the cache of a core.

With 32 or more a face takes a fifth longer, alone it takes a seventh longer."""

GPU_BATCH_FACES: Final = 1024
"""Faces in one run on a GPU, which needs larger batches to be busy."""


class EmbedderMetadata(BaseModel):
    """Metadata in the file of an exported network.

    Attributes:
        format_version: of the metadata.
        mien_version: the version of mien that exported the network.
        side_px: height and width of a crop, in pixels.
        embedding_size: d, the dimensions of an embedding.
        emotions: (c,) names, in the order in which the network was trained.
        sigma: standard deviation of the Gaussians that the loss shaped, in embedding units.
        mirror: whether an embedding is the mean over a face and its mirror image.
        precision: of weights and activations.
        preprocessing: what happens to a face before and inside the graph, in words.
        training: the training settings, of the last checkpoint if several were averaged.
        checkpoints: how many checkpoints were averaged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int
    mien_version: str
    side_px: int = Field(ge=1)
    embedding_size: int = Field(ge=1)
    emotions: tuple[str, ...] = Field(min_length=1)
    sigma: float = Field(gt=0, allow_inf_nan=False)
    mirror: bool
    precision: Literal["float32", "float16", "int8"] = "float32"
    preprocessing: dict[str, str]
    training: dict[str, Any]
    checkpoints: int = Field(1, ge=1)


class Embedder:
    """Face crops to embeddings.

    Thread-safe: one embedder serves all threads of a process.

    Attributes:
        side_px: height and width of a crop, in pixels.
        embedding_size: d, the dimensions of an embedding.
        emotions: (c,) names, in the order in which the network was trained.
        sigma: standard deviation of the Gaussians that the loss shaped, in embedding units.
        metadata: all metadata of the file, such as the training settings.
        batch_faces: faces in one run of the network; more are embedded in several runs.
    """

    def __init__(self, path: Path, *, threads: int = 0, provider: Provider = "auto") -> None:
        """Load an exported network.

        Args:
            path: an ONNX file that ``mien export`` wrote.
            threads: for one batch on the CPU; 0 leaves the choice to ONNX Runtime.
            provider: where to run.

        Raises:
            EmbedderError: the file is missing, broken, or was not written by ``mien export``.
            ConfigError: a GPU is required and cannot be used.
        """
        if not path.is_file():
            raise EmbedderError(f"no exported network at {path}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = open_session(str(path), options, provider)
        except ConfigError:
            raise
        except Exception as error:  # the errors of ONNX Runtime have no public base class
            raise EmbedderError(
                f"{path} is not a network that ONNX Runtime can load: {type(error).__name__}"
            ) from error
        self.metadata = _metadata(self._session.get_modelmeta().custom_metadata_map, path)
        self.side_px = self.metadata.side_px
        self.embedding_size = self.metadata.embedding_size
        self.emotions = self.metadata.emotions
        self.sigma = self.metadata.sigma
        self._input: str = self._session.get_inputs()[0].name
        self.batch_faces = BATCH_FACES * (threads or os.cpu_count() or 1)
        self._bound: BoundBatch | None = None
        if CUDA in self._session.get_providers():
            self.batch_faces = GPU_BATCH_FACES
            shape = (GPU_BATCH_FACES, self.side_px, self.side_px)
            self._bound = BoundBatch(self._session, shape, (GPU_BATCH_FACES, self.embedding_size), device="cuda")

    @property
    def is_on_gpu(self) -> bool:
        """Whether the network runs on a GPU."""
        return self._bound is not None

    @property
    def providers(self) -> list[str]:
        """The execution providers in use, first choice first."""
        names: list[str] = self._session.get_providers()
        return names

    def embed(
        self, crops: NDArray[np.uint8], on_progress: Callable[[int, int], None] = lambda _, __: None
    ) -> NDArray[np.float32]:
        """Embed face crops.

        Args:
            crops: (n, side_px, side_px) uint8, grey; n may be 0.
            on_progress: called after each batch with the number of faces done and of all faces.

        Returns:
            (n, d) float32 embeddings, not normalised.

        Raises:
            ValueError: ``crops`` has another shape or dtype.
        """
        if crops.ndim != 3 or crops.shape[1:] != (self.side_px, self.side_px) or crops.dtype != np.uint8:
            raise ValueError(
                f"expected crops (n, {self.side_px}, {self.side_px}) uint8, got {crops.shape} {crops.dtype}"
            )
        embeddings = np.empty((len(crops), self.embedding_size), dtype=np.float32)
        for start in range(0, len(crops), self.batch_faces):
            batch = crops[start : start + self.batch_faces]
            embeddings[start : start + len(batch)] = self._run(batch)
            on_progress(start + len(batch), len(crops))
        return embeddings

    def _run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._bound is not None and len(batch) == GPU_BATCH_FACES:
            return self._bound.run(batch)
        embeddings: NDArray[np.float32] = self._session.run(None, {self._input: batch})[0]
        return embeddings


def _metadata(properties: dict[str, str], path: Path) -> EmbedderMetadata:
    try:
        content = json.loads(properties[METADATA_KEY])
        version = content["format_version"]
    except (KeyError, ValueError, TypeError, RecursionError):
        raise EmbedderError(f"{path} was not written by mien export: it lacks mien's metadata") from None
    if version != FORMAT_VERSION:
        raise EmbedderError(f"{path} has format version {version}, this version of mien reads {FORMAT_VERSION}")
    try:
        metadata = EmbedderMetadata.model_validate(content)
    except ValidationError as error:
        raise EmbedderError(f"{path} has broken metadata: {first_fault(error)}") from None
    if metadata.side_px != SIDE_PX:
        raise EmbedderError(f"{path} must take faces of {SIDE_PX} pixels, got a network for {metadata.side_px}")
    return metadata
