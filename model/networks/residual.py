"""Residual network: the backbone that is trained from random weights.

Source: He, Zhang, Ren, Sun: *Deep Residual Learning for Image Recognition*, arXiv 1512.03385, with the shortcut's
average pooling of He et al., *Bag of Tricks*, arXiv 1812.01187 (ResNet-D).
"""

from torch import Tensor, nn

from mien.model.networks.config import NetworkConfig


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
                # Odd sides are rounded up, as by the strided convolution.
                nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False) if stride != 1 else nn.Identity(),
                nn.Conv2d(channels_in, channels_out, 1, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, maps: Tensor) -> Tensor:
        """(n, channels_in, h, w) to (n, channels_out, h/stride, w/stride)."""
        residual = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(maps)))))
        added: Tensor = self.relu(residual + self.shortcut(maps))
        return added


def residual_stages(config: NetworkConfig) -> tuple[nn.Sequential, int]:
    """The convolutions of a residual network, and the number of its output channels."""
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
    return nn.Sequential(*layers), channels
