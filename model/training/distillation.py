"""Distillation: a network learns from the posteriors of trained networks, its teachers.

The posterior of a teacher's mixture on each augmented face is mixed into the targets from the raters' votes.

Source: Hinton, Vinyals, Dean: *Distilling the Knowledge in a Neural Network*, arXiv 1503.02531.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from mien.model.losses.centroids import class_centroids, squared_distances
from mien.model.networks.network import Network
from mien.model.networks.preprocessing import standardise
from mien.model.training.checkpoint import load_network
from mien.model.training.targets import TrainingSet
from mien.model.training.validation import embed_with


@dataclass(frozen=True)
class Teacher:
    """A trained network with the mixture of its embeddings.

    Attributes:
        network: in evaluation mode.
        centroids: (c, d) of its embeddings of the training faces.
        sigma: standard deviation at the end of its training, in embedding units.
    """

    network: Network
    centroids: Tensor
    sigma: float

    @classmethod
    def read(cls, checkpoint: Path, samples: TrainingSet, device: torch.device) -> "Teacher":
        """Read a teacher from a checkpoint and measure its centroids on the training faces.

        Raises:
            CheckpointError: the file is missing, broken, or of another version.
        """
        network, _, sigma = load_network(checkpoint)
        network = network.to(device)
        embeddings = embed_with(network, samples.images, device)
        centroids, _ = class_centroids(embeddings, torch.from_numpy(samples.emotions), samples.targets.shape[1])
        return cls(network, centroids.to(device), sigma)

    @torch.inference_mode()
    def posterior(self, faces: Tensor) -> Tensor:
        """(n, c) posteriors of (n, 1, h, w) faces from 0 to 1, of any side."""
        side_px = self.network.config.side_px
        if faces.shape[-1] != side_px:
            faces = functional.interpolate(faces, size=(side_px, side_px), mode="bilinear", align_corners=False)
        embeddings = self.network(standardise(faces).contiguous(memory_format=torch.channels_last)).float()
        return (-squared_distances(embeddings, self.centroids) / (2 * self.sigma**2)).softmax(dim=1)


def mix_teachers(targets: Tensor, teachers: Sequence[Teacher], faces: Tensor, share: float) -> Tensor:
    """Mix the posteriors of teachers into targets.

    Args:
        targets: (n, c) float rows that sum to 1.
        teachers: whose posteriors are averaged.
        faces: (n, 1, h, w) float from 0 to 1, the augmented faces of the batch.
        share: weight of the teachers in the result, from 0 to 1.

    Returns:
        (n, c) float rows that sum to 1.
    """
    posterior = torch.stack([teacher.posterior(faces) for teacher in teachers]).mean(dim=0)
    return (1 - share) * targets + share * posterior.to(targets)
