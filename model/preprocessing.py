"""From a grey face crop to what the network sees: part of the exported graph, so that it cannot be left out."""

from typing import Final

import torch
from torch import Tensor

CONTRAST_FLOOR: Final = 1 / 255
"""Added to the standard deviation: a crop of one grey stays finite."""


def standardise(faces: Tensor) -> Tensor:
    """Give each face zero mean and unit contrast, so that lighting does not look like expression.

    Args:
        faces: (n, 1, h, w) float from 0 to 1.

    Returns:
        (n, 1, h, w) float.
    """
    centred = faces - faces.mean(dim=(2, 3), keepdim=True)
    contrast = centred.square().mean(dim=(2, 3), keepdim=True).sqrt()
    return centred / (contrast + CONTRAST_FLOOR)


def to_unit(crops: Tensor) -> Tensor:
    """(n, h, w) uint8 crops to (n, 1, h, w) float32 faces from 0 to 1."""
    return crops.unsqueeze(1).to(torch.float32) / 255
