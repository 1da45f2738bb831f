"""The base class of losses: a module over a batch of embeddings with their classes and target distributions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from mien.model.losses.sigma import Sigma


@dataclass(frozen=True)
class EmbeddedBatch:
    """The input of a loss.

    Attributes:
        embeddings: (n, d) float.
        classes: (n,) int64, the class whose centroid each embedding belongs to: its emotion, or its sub-class.
        targets: (n, c) float rows that sum to 1, over the emotions.
        done: share of the training that is done, from 0 to 1, for schedules.
    """

    embeddings: Tensor
    classes: Tensor
    targets: Tensor
    done: float = 0.0


class Loss(nn.Module, ABC):
    """A loss; its parameters and buffers are part of each checkpoint.

    Attributes:
        sigma: standard deviation of the Gaussians; losses without Gaussians ignore it.
    """

    def __init__(self, sigma: Sigma) -> None:
        super().__init__()
        self.sigma = sigma

    @abstractmethod
    def forward(self, batch: EmbeddedBatch) -> Tensor:
        """() float, the loss of a batch."""
