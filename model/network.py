"""The network: a grey face to a point, by a residual network with one linear layer on its pooled features.

Source of the blocks: He, Zhang, Ren, Sun: *Deep Residual Learning for Image Recognition*, arXiv 1512.03385,
with the shortcut's average pooling of He et al., *Bag of Tricks*, arXiv 1812.01187 (ResNet-D).
"""

from typing import Final

import torch
from torch import Tensor, nn

from model.configuration import NetworkConfig

EMBEDDING_SIZE: Final = 64
"""d: the dimensions of the embedding space."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation, added to their input."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                # Odd sides round up, as the strided convolution beside it does.
                nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False) if stride != 1 else nn.Identity(),
                nn.Conv2d(channels_in, channels_out, 1, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, maps: Tensor) -> Tensor:
        """(n, channels_in, h, w) to (n, channels_out, h/stride, w/stride)."""
        residual = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(maps)))))
        added: Tensor = self.relu(residual + self.shortcut(maps))
        return added


class Network(nn.Module):
    """f: image -> z in R^d; z is not normalised (method: arXiv 2001.06612)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.widths[0]
        layers: list[nn.Module] = [
            nn.Conv2d(1, channels, 3, config.stem_stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
        for stage, (width, block_count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for block in range(block_count):
                layers.append(ResidualBlock(channels, width, stride=2 if stage > 0 and block == 0 else 1))
                channels = width
        self.stages = nn.Sequential(*layers)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(channels, EMBEDDING_SIZE)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed faces.

        Args:
            pixels: (n, 1, h, w) float, standardised by ``model.preprocessing``.

        Returns:
            (n, 64) embeddings.
        """
        pooled = self.stages(pixels).mean(dim=(2, 3))  # (n, channels)
        embeddings: Tensor = self.head(self.dropout(pooled))
        return embeddings


def parameter_count(network: nn.Module) -> int:
    """How many numbers training moves."""
    return sum(parameter.numel() for parameter in network.parameters())


def new_network(config: NetworkConfig, seed: int) -> Network:
    """A network on the CPU with reproducible initial weights; torch's global generators stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs' generators as well
        return Network(config)
