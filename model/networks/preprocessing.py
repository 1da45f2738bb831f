"""Preprocessing of face crops; it is part of the exported graph, so that no caller can leave it out."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

CONTRAST_FLOOR: Final = 1 / 255
"""Added to the standard deviation, so that a crop of one grey stays finite."""


def standardise(faces: Tensor) -> Tensor:
    """Give each face zero mean and unit contrast, so that lighting does not change its embedding.

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


def prepare(crops: Tensor, side_px: int) -> Tensor:
    """The input of the network for face crops without augmentation: in validation and in the exported network.

    Args:
        crops: (n, h, w) uint8.
        side_px: height and width of the network's input.

    Returns:
        (n, 1, side_px, side_px) float32, standardised.
    """
    faces = standardise(to_unit(crops))
    if faces.shape[-2:] == (side_px, side_px):
        return faces
    return functional.interpolate(faces, size=(side_px, side_px), mode="bilinear", align_corners=False)
