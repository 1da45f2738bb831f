"""Training and export of the portrait network: it learns the average faces of points of the embedding space.

The faces themselves stay with the data: the bundle gets the network alone.
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

from mien.model.datasets.ferplus import FACE_PX
from mien.model.errors import DatasetError, EmbedderError
from mien.model.export.export import onnx_graph
from mien.model.networks.network import EMBEDDING_SIZE
from mien.model.portraits.averages import AverageFaces, Embed
from mien.model.portraits.config import PortraitConfig
from mien.model.portraits.network import PortraitNetwork
from mien.model.portraits.painter import FORMAT_VERSION, METADATA_KEY, PortraitPainter

PARITY_GREYS: Final = 1
"""Largest allowed difference between torch and ONNX Runtime, which is rounding, of 256 grey levels."""

JITTER: Final = 0.1
"""Standard deviation of the noise on the points of a step, in embedding units: near points have the same average."""

MIDDLE_WEIGHT: Final = 20
"""How many points a centroid counts for: its portrait is shown most often."""


class Step(NamedTuple):
    """A step of the training.

    Attributes:
        number: from 1.
        total: number of all steps.
        loss: mean squared difference of the portraits from the averages, of standardised greys.
    """

    number: int
    total: int
    loss: float


def train_portraits(
    faces: AverageFaces,
    points: NDArray[np.float32],
    labels: NDArray[np.int64],
    embed: Embed,
    *,
    middles: NDArray[np.floating],
    config: PortraitConfig,
    on_step: Callable[[Step], None] = lambda _: None,
) -> PortraitNetwork:
    """Train the portrait network, on the CPU.

    Args:
        faces: that are averaged.
        points: (n, 64) embeddings of faces, of which some are learned.
        labels: (n,) the emotion of each point.
        embed: from (m, 48, 48) uint8 faces to their (m, 64) embeddings.
        middles: (m, 64) points that are often painted, such as centroids; points between two of them are learned too.
        config: the settings.
        on_step: called after each step.

    Raises:
        DatasetError: there are no points, or not as many labels as points.
    """
    if len(points) == 0 or len(points) != len(labels):
        raise DatasetError(f"portraits need one label per point, got {len(labels)} for {len(points)} points")
    generator = np.random.default_rng(config.seed)
    asked = _points(points, labels, middles.astype(np.float32), config, generator)
    distinct, places = np.unique(asked, axis=0, return_inverse=True)
    averages = torch.from_numpy(faces.embedded_at(distinct, embed, config.rounds)[places.ravel()])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        network = PortraitNetwork(config.width, config.components)
    shares, inputs = network.fit_components(averages), torch.from_numpy(asked)
    variances = network.faces.weight.square().sum(dim=0)
    optimiser = torch.optim.AdamW(network.shares.parameters(), lr=config.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps, config.learning_rate / 100)
    for number in range(1, config.steps + 1):
        rows = torch.from_numpy(generator.integers(0, len(inputs), config.batch_size))
        noise = torch.from_numpy(generator.normal(0, JITTER, (config.batch_size, EMBEDDING_SIZE)).astype(np.float32))
        # The squared difference in pixels, since the components are orthogonal.
        missing = (network.shares(inputs[rows] + noise) - shares[rows]).square() * variances
        loss = missing.sum(dim=1).mean() / FACE_PX**2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        on_step(Step(number, config.steps, float(loss.detach())))
    return network.eval()


def _points(
    points: NDArray[np.float32],
    labels: NDArray[np.int64],
    middles: NDArray[np.float32],
    config: PortraitConfig,
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """(k, 64) points to learn: of faces, the middles, and a quarter as many between two middles, as for a mix."""
    counts = np.bincount(labels)
    chances = config.balance / (counts[labels] * (counts > 0).sum()) + (1 - config.balance) / len(labels)
    chosen = generator.choice(len(points), min(config.points, len(points)), replace=False, p=chances)
    ends = generator.integers(0, len(middles), (2, len(chosen) // 4))
    share = generator.random((len(chosen) // 4, 1)).astype(np.float32)
    between = share * middles[ends[0]] + (1 - share) * middles[ends[1]]
    return np.concatenate([points[chosen], np.repeat(middles, MIDDLE_WEIGHT, axis=0), between])


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
