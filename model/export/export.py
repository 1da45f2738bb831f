"""Export of a checkpoint's network to ONNX with its preprocessing, checked against torch."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from mien.model.datasets.ferplus import FACE_PX
from mien.model.embedder.embedder import FORMAT_VERSION, METADATA_KEY, Embedder, EmbedderMetadata
from mien.model.errors import EmbedderError
from mien.model.export.metadata import replace_metadata
from mien.model.networks.network import EMBEDDING_SIZE, Network
from mien.model.networks.preprocessing import CONTRAST_FLOOR, prepare
from mien.model.training.checkpoint import count_averaged, load_network

PARITY_TOLERANCE: Final = 1e-3
"""Largest allowed difference between torch and ONNX Runtime, in embedding units."""

OPSET: Final = 18

_EXPORTER_LOGGERS: Final = ("torch.onnx", "onnxscript", "onnx_ir")


class ExportedNetwork(nn.Module):
    """Preprocessing and network in one module, from uint8 crops to embeddings.

    With ``mirror``, the embedding is the mean over a face and its mirror image, which have the same expression; the
    mean is less noisy than either.
    """

    def __init__(self, network: Network, *, mirror: bool) -> None:
        super().__init__()
        self.network = network
        self.mirror = mirror

    def forward(self, crops: Tensor) -> Tensor:
        """(n, 48, 48) uint8 to (n, 64) float32."""
        faces = prepare(crops, self.network.config.side_px)
        embeddings: Tensor = self.network(faces)
        if self.mirror:
            embeddings = (embeddings + self.network(faces.flip(3))) / 2
        return embeddings


def export(checkpoint: Path, output: Path, *, mirror: bool = True) -> float:
    """Write a checkpoint's network as ONNX and check it against torch.

    Args:
        checkpoint: the file that training or ``average_checkpoints`` wrote.
        output: the ONNX file to write; it replaces an older one only when the check has passed.
        mirror: average each face with its mirror image.

    Returns:
        The largest absolute difference between torch and ONNX Runtime on test crops, in embedding units.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        EmbedderError: the exported network does not compute what the network does.
    """
    network, config, sigma = load_network(checkpoint)
    exported = ExportedNetwork(network, mirror=mirror).eval()
    metadata = EmbedderMetadata(
        format_version=FORMAT_VERSION,
        mien_version=version("mien"),
        side_px=FACE_PX,
        embedding_size=EMBEDDING_SIZE,
        emotions=config.emotions,
        sigma=sigma,
        mirror=mirror,
        preprocessing={
            "colour": "grey, ITU-R 601 luma",
            "framing": "YuNet landmarks to their median places in FER2013 faces, by a similarity transform",
            "inside_the_graph": (
                f"x / 255; minus the face's mean; divided by its standard deviation + {CONTRAST_FLOOR:.6f}; "
                f"{config.network.side_px}x{config.network.side_px} by bilinear interpolation"
            ),
        },
        training=config.model_dump(mode="json"),
        checkpoints=count_averaged(checkpoint),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        draft = Path(folder) / output.name
        graph = onnx_graph(
            exported,
            torch.zeros(2, FACE_PX, FACE_PX, dtype=torch.uint8),
            input_name="crops",
            output_name="embeddings",
            key=METADATA_KEY,
            about=metadata.model_dump_json(),
        )
        draft.write_bytes(graph.SerializeToString())
        difference = parity(exported, draft)
        if not difference <= PARITY_TOLERANCE:
            raise EmbedderError(
                f"the exported network differs from torch by {difference:.2e}, allowed are {PARITY_TOLERANCE:.0e}"
            )
        draft.replace(output)
    return difference


def parity(exported: ExportedNetwork, path: Path) -> float:
    """Largest absolute difference between torch and ONNX Runtime over noisy, faint and smooth crops.

    A crop of one grey is not among them, because only rounding errors are left after its mean is subtracted.
    """
    generator = np.random.default_rng(0)
    ramp = np.linspace(0, 255, FACE_PX)
    crops = np.concatenate(
        [
            generator.integers(0, 256, (5, FACE_PX, FACE_PX)),
            generator.integers(127, 130, (3, FACE_PX, FACE_PX)),
            np.stack([np.add.outer(ramp, ramp) / 2, np.add.outer(ramp, ramp[::-1]) / 2]),
        ]
    ).astype(np.uint8)
    with torch.inference_mode():
        expected = exported(torch.from_numpy(crops)).numpy()
    found = Embedder(path, provider="cpu").embed(crops)
    return float(np.abs(found - expected).max())


def onnx_graph(
    module: nn.Module, example: Tensor, *, input_name: str, output_name: str, key: str, about: str
) -> onnx.ModelProto:
    """A module as a checked ONNX graph for any number of faces, with one entry of metadata.

    Args:
        module: in evaluation mode.
        example: (2, ...) an input.
        input_name: of the graph's input.
        output_name: of the graph's output.
        key: of the metadata.
        about: value of the metadata.

    Raises:
        EmbedderError: torch returns no graph.
    """
    with _quiet_exporter():
        program = torch.onnx.export(
            module,
            (example,),
            input_names=[input_name],
            output_names=[output_name],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise EmbedderError("torch returned no ONNX program")
    graph = program.model_proto
    replace_metadata(graph, key, about)
    onnx.checker.check_model(graph)
    return graph


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Leave out what torch's exporter says about itself: deprecations in its code, libraries that it does not need."""
    loggers = [logging.getLogger(name) for name in _EXPORTER_LOGGERS]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
