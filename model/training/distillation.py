"""Distillation: a network learns from the posteriors of trained networks, its teachers.

The posterior of a teacher's mixture on each augmented face is mixed into the targets from the raters' votes. An
ensemble that would be slow to run beside the training is a table instead: its posteriors on the faces as they are.

Source: Hinton, Vinyals, Dean: *Distilling the Knowledge in a Neural Network*, arXiv 1503.02531.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mien.model.errors import ConfigError, DatasetError
from mien.model.losses.centroids import class_centroids, squared_distances
from mien.model.networks.network import Network
from mien.model.networks.preprocessing import standardise
from mien.model.training.checkpoint import load_network
from mien.model.training.targets import TrainingSet
from mien.model.training.validation import embed_with

TABLE_SUFFIX: Final = ".npz"
"""Ending of the file of a table of posteriors."""


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


def mix_table_of(teachers: Sequence[Path], samples: TrainingSet, share: float) -> tuple[TrainingSet, Sequence[Path]]:
    """Mix the table among the teachers, if there is one, into the targets of training faces.

    Returns:
        The training faces, and the teachers that are checkpoints.

    Raises:
        ConfigError: there are a table and further teachers.
        DatasetError: see ``mix_table``.
    """
    tables = [teacher for teacher in teachers if teacher.suffix == TABLE_SUFFIX]
    if not tables:
        return samples, teachers
    if len(teachers) > 1:
        raise ConfigError(f"teachers must be checkpoints or one table of posteriors, got {len(teachers)} with a table")
    return mix_table(samples, tables[0], share), ()


def mix_table(samples: TrainingSet, path: Path, share: float) -> TrainingSet:
    """Mix a table of posteriors into the targets of training faces.

    Args:
        samples: the training faces.
        path: an ``.npz`` file with ``names`` (m,) of faces, in any order, and ``posteriors`` (m, c) rows that sum to 1.
        share: weight of the posteriors in the result, from 0 to 1.

    Raises:
        DatasetError: the file is no such table, or a training face is missing in it.
    """
    try:
        with np.load(path, allow_pickle=False) as table:
            names, posteriors = table["names"].tolist(), table["posteriors"].astype(np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"posteriors cannot be read from {path}: {error}") from None
    if posteriors.shape != (len(names), samples.targets.shape[1]) or not np.allclose(
        posteriors.sum(axis=1), 1, atol=1e-2
    ):
        raise DatasetError(
            f"posteriors in {path} must be {len(names)} rows of {samples.targets.shape[1]} that sum to 1, "
            f"got {posteriors.shape}"
        )
    rows = {name: row for row, name in enumerate(names)}
    missing = [name for name in samples.names if name not in rows]
    if missing:
        raise DatasetError(
            f"posteriors in {path} must be of all training faces, {len(missing)} are missing: {missing[0]}"
        )
    found = posteriors[[rows[name] for name in samples.names]]
    return replace(samples, targets=(1 - share) * samples.targets + share * found / found.sum(axis=1, keepdims=True))
