"""Training and export of the portrait network.

It has two aims: a portrait looks like the faces near a point, and the embedder embeds it at that point. The first alone
gives weak expressions, since averages are blurred; the second alone gives patterns that only a network takes for faces.
"""

import json
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mien.model.datasets.ferplus import FACE_PX
from mien.model.errors import DatasetError, EmbedderError
from mien.model.export.export import onnx_graph
from mien.model.networks.network import EMBEDDING_SIZE
from mien.model.networks.preprocessing import standardise, to_unit
from mien.model.networks.torch_graph import TorchGraph
from mien.model.portraits.config import PortraitConfig
from mien.model.portraits.network import PortraitNetwork, set_contrast
from mien.model.portraits.painter import FORMAT_VERSION, METADATA_KEY, PortraitPainter
from mien.model.portraits.sub_class_posterior import SubClassGaussians, SubClassPosterior

PARITY_GREYS: Final = 1
"""Largest allowed difference between torch and ONNX Runtime, which is rounding, of 256 grey levels."""


class Step(NamedTuple):
    """A step of the training.

    Attributes:
        number: from 1.
        total: number of all steps.
        pixels: mean absolute difference from the faces, of greys from 0 to 1.
        reading: mean squared distance between points and embeddings of their portraits, in embedding units.
        naming: divergence of the sub-classes' posteriors at the two, nats.
    """

    number: int
    total: int
    pixels: float
    reading: float
    naming: float


def train_portraits(
    crops: NDArray[np.uint8],
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    embedder: Path,
    *,
    middles: NDArray[np.floating],
    gaussians: SubClassGaussians,
    config: PortraitConfig,
    on_step: Callable[[Step], None] = lambda _: None,
) -> PortraitNetwork:
    """Train the portrait network, on the CPU.

    Args:
        crops: (n, 48, 48) uint8.
        embeddings: (n, 64) of them.
        labels: (n,) the emotion of each crop.
        embedder: the exported network that embedded them.
        middles: (m, 64) points that are often painted, such as centroids.
        gaussians: of the sub-classes; a portrait should belong to the sub-class of its point.
        config: the settings.
        on_step: called after each step.

    Raises:
        DatasetError: there are no crops, or not as many embeddings as crops.
        EmbedderError: the embedder has operations that cannot be run in torch.
    """
    if len(crops) == 0 or len(crops) != len(embeddings):
        raise DatasetError(f"portraits need one embedding per face, got {len(embeddings)} for {len(crops)} faces")
    reader, naming = TorchGraph(embedder), SubClassPosterior(gaussians)
    generator = np.random.default_rng(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        network = PortraitNetwork(config.width)
    points, faces = torch.from_numpy(embeddings), standardise(to_unit(torch.from_numpy(crops)))
    # A mirrored face has the same expression, so the linear part is fitted to both.
    network.fit_linear_part(torch.cat([points, points]), torch.cat([faces, faces.flip(3)]).squeeze(1))
    ends = torch.from_numpy(middles.astype(np.float32))
    chances = _chances(labels, config.balance)
    network.average.requires_grad_(requires_grad=False)
    optimiser = torch.optim.AdamW(
        [each for each in network.parameters() if each.requires_grad], lr=config.learning_rate, weight_decay=1e-4
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, config.steps), config.learning_rate / 100)
    for number in range(1, config.steps + 1):
        rows = torch.from_numpy(generator.choice(len(crops), config.batch_size, p=chances))
        wanted = set_contrast(faces[rows].flip(3) if generator.random() < 0.5 else faces[rows])
        pixels = functional.l1_loss(network(points[rows]), wanted)
        asked = _asked(points[rows[: config.read_faces]], ends, generator)
        read = reader(_moved(network(asked), generator) * 255)
        reading, misnamed = (read - asked).square().sum(dim=1).mean(), naming.difference(asked, read)
        optimiser.zero_grad()
        (pixels + config.reading_share * reading + config.naming_share * misnamed).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        on_step(Step(number, config.steps, *(float(each.detach()) for each in (pixels, reading, misnamed))))
    return network.eval()


def export_portraits(network: PortraitNetwork, config: PortraitConfig, embedder_sha256: str, output: Path) -> None:
    """Write the portrait network as ONNX and check it against torch.

    Args:
        network: trained.
        config: how it was trained.
        embedder_sha256: of the embedder that made the embeddings.
        output: the file to write.

    Raises:
        EmbedderError: the exported network paints something else than the network.
    """
    about = {
        "format_version": FORMAT_VERSION,
        "mien_version": version("mien"),
        "side_px": FACE_PX,
        "embedding_size": EMBEDDING_SIZE,
        "embedder_sha256": embedder_sha256,
        "training": config.model_dump(mode="json"),
    }
    graph = onnx_graph(
        _Greys(network).eval(),
        torch.zeros(2, EMBEDDING_SIZE),
        input_name="embeddings",
        output_name="faces",
        key=METADATA_KEY,
        about=json.dumps(about),
    )
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        draft = Path(folder) / output.name
        draft.write_bytes(graph.SerializeToString())
        points = np.random.default_rng(0).normal(0, 1, (6, EMBEDDING_SIZE)).astype(np.float32)
        with torch.inference_mode():
            expected = _Greys(network)(torch.from_numpy(points)).numpy().astype(np.int64)
        difference = int(np.abs(PortraitPainter(draft).paint(points).astype(np.int64) - expected).max())
        if difference > PARITY_GREYS:
            raise EmbedderError(f"the exported portraits differ from torch by {difference} greys, allowed is 1")
        draft.replace(output)


class _Greys(torch.nn.Module):
    """The network with its faces as uint8."""

    def __init__(self, network: PortraitNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, embeddings: Tensor) -> Tensor:
        """(n, 64) to (n, 48, 48) uint8."""
        return torch.round(self.network(embeddings) * 255).to(torch.uint8)


def _chances(labels: NDArray[np.int64], balance: float) -> NDArray[np.float64]:
    """(n,) the probability of each face in a draw."""
    counts = np.bincount(labels)
    even = 1 / (counts[labels] * (counts > 0).sum())
    return np.asarray(balance * even + (1 - balance) / len(labels))


def _asked(points: Tensor, middles: Tensor, generator: np.random.Generator) -> Tensor:
    """Points to paint: a third are faces, a third middles, the rest between two middles, as are queries for a mix."""
    third = len(points) // 3
    chosen = torch.from_numpy(generator.choice(len(middles), third, replace=third > len(middles)))
    between = len(points) - 2 * third
    ends = torch.from_numpy(generator.integers(0, len(middles), (2, between)))
    shares = torch.from_numpy(generator.random((between, 1)).astype(np.float32))
    return torch.cat([points[:third], middles[chosen], shares * middles[ends[0]] + (1 - shares) * middles[ends[1]]])


def _moved(faces: Tensor, generator: np.random.Generator) -> Tensor:
    """The faces shifted by up to a pixel, with a little noise, against patterns that depend on single pixels."""
    down, right = generator.integers(-1, 2, 2).tolist()
    noise = torch.from_numpy(generator.normal(0, 0.02, tuple(faces.shape)).astype(np.float32))
    padded = functional.pad(faces.unsqueeze(1), (1, 1, 1, 1), mode="replicate").squeeze(1)
    return padded[:, 1 + down : 1 + down + FACE_PX, 1 + right : 1 + right + FACE_PX] + noise
