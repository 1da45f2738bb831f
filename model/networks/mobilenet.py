"""MobileNet: the small backbone whose initial weights are those of a face recognition network.

Source: Howard et al.: *MobileNets*, arXiv 1704.04861, width 1.
"""

from typing import Final

from torch import nn

BLOCKS: Final = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
"""Channels out and stride of each depthwise separable block."""

STEM_CHANNELS: Final = 32


def mobilenet_stages() -> tuple[nn.Sequential, int]:
    """The convolutions of a MobileNet over one grey channel, and the number of its output channels.

    The stages are flat: each convolution is followed by its normalisation and a ReLU6. After the stem, depthwise (3x3)
    and pointwise (1x1) convolutions alternate.
    """
    layers = _unit(1, STEM_CHANNELS, kernel_px=3, stride=2)
    channels = STEM_CHANNELS
    for width, stride in BLOCKS:
        layers += _unit(channels, channels, kernel_px=3, stride=stride, groups=channels)
        layers += _unit(channels, width, kernel_px=1)
        channels = width
    return nn.Sequential(*layers), channels


def stage_count(blocks: int) -> int:
    """The number of stages of the stem and the first blocks."""
    return 3 * (1 + 2 * blocks)


def _unit(channels_in: int, channels_out: int, *, kernel_px: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, kernel_px, stride, kernel_px // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU6(inplace=True),
    ]
