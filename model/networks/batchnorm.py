"""Restores batch normalisation that was folded into the weights of convolutions, so that training can continue.

For inference, a normalisation is only a factor and an offset after a convolution, and exporters fold it into the
weights. Training needs the normalisation again, and must start from the same function.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FoldedConvolution:
    """A convolution with its folded normalisation: ``factor * (kernel * maps) + offset``.

    Attributes:
        kernel: (channels out, channels in of a group, h, w) in torch's order.
        factor: (channels out,).
        offset: (channels out,).
    """

    kernel: Tensor
    factor: Tensor
    offset: Tensor


@torch.no_grad()
def unfold(stages: nn.Sequential, convolutions: Sequence[FoldedConvolution], faces: Tensor) -> None:
    """Load folded convolutions into stages with batch normalisation.

    The statistics of each normalisation are measured on ``faces``, and its weight and bias are set so that its output
    is that of the folded convolution.

    Args:
        stages: a flat backbone (``mien.model.networks.mobilenet``), in which a normalisation follows each convolution.
        convolutions: one for each convolution of the backbone, of the same shape.
        faces: (n, 1, h, w) standardised faces, a few hundred.
    """
    remaining = iter(convolutions)
    folded = FoldedConvolution(torch.empty(0), torch.empty(0), torch.empty(0))
    maps = faces
    for layer in stages:
        if isinstance(layer, nn.Conv2d):
            folded = next(remaining)
            layer.weight.copy_(folded.kernel)
            maps = layer(maps)
        elif isinstance(layer, nn.BatchNorm2d):
            mean, variance = maps.mean(dim=(0, 2, 3)), maps.var(dim=(0, 2, 3), unbiased=False)
            layer.running_mean = mean.clone()
            layer.running_var = variance.clone()
            layer.weight.copy_(folded.factor * (variance + layer.eps).sqrt())
            layer.bias.copy_(folded.offset + folded.factor * mean)
            maps = maps * folded.factor[:, None, None] + folded.offset[:, None, None]
        else:
            maps = layer(maps)
