"""The network: embeds grey faces by a backbone, average pooling and one linear layer."""

from typing import Final, Self

import torch
from torch import Tensor, nn

from mien.model.errors import ConfigError
from mien.model.networks.config import NetworkConfig
from mien.model.networks.mobilenet import BLOCKS, mobilenet_stages, stage_count
from mien.model.networks.residual import residual_stages

EMBEDDING_SIZE: Final = 64
"""d: the dimensions of the embedding space."""


class Network(nn.Module):
    """Embeds a face as z in R^d, which is not normalised (method: arXiv 2001.06612)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.stages, channels = mobilenet_stages() if config.backbone == "mobilenet" else residual_stages(config)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(channels, EMBEDDING_SIZE)
        self._frozen_stages = 0

    def freeze(self, blocks: int) -> None:
        """Keep the stem and the first blocks of the backbone as they are: no gradient, and statistics that stay.

        Args:
            blocks: depthwise separable blocks after the stem; 0 freezes nothing.

        Raises:
            ConfigError: the backbone is not a MobileNet, or has fewer blocks.
        """
        if blocks == 0:
            return
        if self.config.backbone != "mobilenet" or blocks > len(BLOCKS):
            raise ConfigError(
                f"frozen_blocks must be 0, or up to {len(BLOCKS)} with the backbone mobilenet, "
                f"got {blocks} with {self.config.backbone}"
            )
        self._frozen_stages = stage_count(blocks)
        self.stages[: self._frozen_stages].requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - as torch declares it
        """Set the mode; frozen stages stay in that of evaluation."""
        super().train(mode)
        self.stages[: self._frozen_stages].eval()
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed faces.

        Args:
            pixels: (n, 1, h, w) float, standardised by ``mien.model.networks.preprocessing``.

        Returns:
            (n, 64) embeddings.
        """
        pooled = self.stages(pixels).mean(dim=(2, 3))  # (n, channels)
        embeddings: Tensor = self.head(self.dropout(pooled))
        return embeddings


def parameter_count(network: nn.Module) -> int:
    """The number of parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def new_network(config: NetworkConfig, seed: int) -> Network:
    """A network on the CPU with random weights from ``seed``; torch's global generators are not changed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs' generators as well
        return Network(config)
