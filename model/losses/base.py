"""What every loss is: a module over a batch of embeddings, with their classes and target distributions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from mien.model.losses.sigma import Sigma


@dataclass(frozen=True)
class EmbeddedBatch:
    """What a loss scores.

    Attributes:
        embeddings: (n, d) float.
        classes: (n,) int64, the class whose centroid each embedding belongs to: its emotion, or its sub-class.
        targets: (n, c) float rows that sum to 1, over the emotions.
        done: share of the training that is done, from 0 to 1.
    """

    embeddings: Tensor
    classes: Tensor
    targets: Tensor
    done: float = 0.0


class Loss(nn.Module, ABC):
    """A loss with whatever it learns or remembers; its state travels in the checkpoint.

    Attributes:
        sigma: standard deviation of the Gaussians, for those losses that shape some; the others leave it alone.
    """

    def __init__(self, sigma: Sigma) -> None:
        super().__init__()
        self.sigma = sigma

    @abstractmethod
    def forward(self, batch: EmbeddedBatch) -> Tensor:
        """Score a batch: () float."""
