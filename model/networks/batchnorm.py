"""Weights whose normalisation was folded into them, given back to a network that can be trained on.

A network that is only run needs no normalisation: it is a factor and an offset behind each convolution. Training needs
it again, and must begin with the same function.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FoldedConvolution:
    """A convolution and what follows it: ``kernel * maps``, times a factor, plus an offset.

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
    """Give the stages the weights of folded convolutions.

    Each normalisation measures its input on ``faces`` and is set so that nothing changes in what comes out of it, from
    where training can move it.

    Args:
        stages: a flat backbone (``mien.model.networks.mobilenet``): each convolution is followed by its normalisation.
        convolutions: one for each convolution there, of its shape.
        faces: (n, 1, h, w) standardised faces, some hundred of them.
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
