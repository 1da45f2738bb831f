"""Training variations of a face that leave its expression alone."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from mien.model.training.config import AugmentationConfig


def augment(faces: Tensor, config: AugmentationConfig, side_px: int, generator: torch.Generator) -> Tensor:
    """Vary a batch of faces.

    Args:
        faces: (n, 1, h, w) float from 0 to 1.
        config: how far.
        side_px: height and width of the result: the same view at another resolution.
        generator: source of chance, on the CPU.

    Returns:
        (n, 1, side_px, side_px) float from 0 to 1.
    """
    n = len(faces)

    def spread(limit: float) -> Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * limit

    angle = spread(config.rotation_deg * math.pi / 180)
    scale = 1 + spread(config.scale)
    aspect = 1 + spread(config.scale / 3)
    flip = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0) if config.mirror else torch.ones(n)
    cosine, sine = angle.cos(), angle.sin()
    transform = torch.stack(
        [
            torch.stack([cosine * scale * aspect * flip, -sine * scale, spread(2 * config.shift)], dim=1),
            torch.stack([sine * scale * aspect * flip, cosine * scale, spread(2 * config.shift)], dim=1),
        ],
        dim=1,
    )  # (n, 2, 3)
    grid = functional.affine_grid(transform.to(faces), [n, 1, side_px, side_px], align_corners=False)
    varied = functional.grid_sample(faces, grid, padding_mode="reflection", align_corners=False)

    # Brightness and contrast need no variation: preprocessing standardises each face.
    gamma = spread(config.gamma).exp().view(n, 1, 1, 1).to(faces)
    varied = varied.clamp(0, 1).pow(gamma)
    return _erase(varied, config.erase, generator)


def _erase(faces: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Cover a rectangle of a fifth to two fifths of the side in a share of the faces with the face's mean grey."""
    n, _, height, width = faces.shape
    size = 0.2 + 0.2 * torch.rand(n, 2, generator=generator)
    start = torch.rand(n, 2, generator=generator) * (1 - size)
    chosen = torch.rand(n, generator=generator) < share
    y = (torch.arange(height) + 0.5) / height
    x = (torch.arange(width) + 0.5) / width
    inside_y = (y >= start[:, :1]) & (y < start[:, :1] + size[:, :1])  # (n, h)
    inside_x = (x >= start[:, 1:]) & (x < start[:, 1:] + size[:, 1:])  # (n, w)
    covered = (inside_y.unsqueeze(2) & inside_x.unsqueeze(1) & chosen.view(n, 1, 1)).unsqueeze(1)
    return torch.where(covered.to(faces.device), faces.mean(dim=(2, 3), keepdim=True), faces)
