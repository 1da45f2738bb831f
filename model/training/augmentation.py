"""Augmentation: random changes of faces that keep the expression."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from mien.model.training.config import AugmentationConfig


def augment(faces: Tensor, config: AugmentationConfig, side_px: int, generator: torch.Generator) -> Tensor:
    """Augment a batch of faces.

    Args:
        faces: (n, 1, h, w) float from 0 to 1.
        config: ranges of the changes.
        side_px: height and width of the result, which shows the same view at another resolution.
        generator: of random numbers, on the CPU.

    Returns:
        (n, 1, side_px, side_px) float from 0 to 1.
    """
    n = len(faces)
    faces = _imitate_photographs(faces, config, generator)

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
    if config.shear:
        shear = torch.eye(3).repeat(n, 1, 1)
        shear[:, 0, 1], shear[:, 1, 0] = spread(config.shear), spread(config.shear)
        transform = transform @ shear
    grid = functional.affine_grid(transform.to(faces), [n, 1, side_px, side_px], align_corners=False)
    if config.perspective:
        slopes = torch.stack([spread(config.perspective), spread(config.perspective)], dim=1).to(faces)  # (n, 2)
        grid = grid / (1 + (grid * slopes.view(n, 1, 1, 2)).sum(dim=3, keepdim=True)).clamp(min=0.5)
    varied = functional.grid_sample(faces, grid, padding_mode="reflection", align_corners=False)

    # Brightness and contrast are not varied, since preprocessing standardises them.
    gamma = spread(config.gamma).exp().view(n, 1, 1, 1).to(faces)
    varied = varied.clamp(0, 1).pow(gamma)
    return _erase(varied, config.erase, generator)


def _imitate_photographs(faces: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Cover faces, light them from one side and degrade them, as happens in photographs; at the size of the crops."""
    if config.cover:
        faces = _cover(faces, config.cover, generator)
    if config.light:
        faces = _light(faces, config.light, generator)
    if config.degradation:
        faces = _degrade(faces, config.degradation, generator)
    return faces


def _cover(faces: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Cover eyes, mouth or one side of a share of the faces with grey, as glasses, masks, hands and hair do."""
    n, _, height, width = faces.shape
    bars = torch.tensor([[0.22, 0.46, 0.0, 1.0], [0.60, 1.0, 0.05, 0.95], [0.0, 1.0, 0.0, 0.38], [0.0, 1.0, 0.62, 1.0]])
    places = bars[torch.randint(len(bars), (n,), generator=generator)]  # (n, 4): top, bottom, left, right
    places = places + (torch.rand(n, 4, generator=generator) * 2 - 1) * 0.06
    chosen = torch.rand(n, generator=generator) < share
    y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    inside_y = (y >= places[:, :1]) & (y < places[:, 1:2])  # (n, h)
    inside_x = (x >= places[:, 2:3]) & (x < places[:, 3:])  # (n, w)
    covered = (inside_y.unsqueeze(2) & inside_x.unsqueeze(1) & chosen.view(n, 1, 1)).unsqueeze(1)
    grey = torch.rand(n, 1, 1, 1, generator=generator).to(faces)
    return torch.where(covered.to(faces.device), grey, faces)


def _light(faces: Tensor, limit: float, generator: torch.Generator) -> Tensor:
    """Light faces from one side: brightness grows exponentially across the face."""
    n, _, height, width = faces.shape
    slopes = ((torch.rand(n, 2, generator=generator) * 2 - 1) * limit).to(faces)
    y = torch.linspace(-1, 1, height, device=faces.device).view(1, height, 1)
    x = torch.linspace(-1, 1, width, device=faces.device).view(1, 1, width)
    gain = (slopes[:, :1, None] * y + slopes[:, 1:, None] * x).exp().unsqueeze(1)
    return (faces * gain).clamp(0, 1)


def _degrade(faces: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Lower the resolution, blur, or add noise or JPEG blocks in a share of the faces, as strongly in a whole batch."""
    n = len(faces)
    chance = torch.rand(n, generator=generator) / share  # below 1: one of the four
    strength = torch.rand(4, generator=generator).tolist()
    faults = (
        _lower_resolution(faces, round(faces.shape[-1] * (0.35 + 0.4 * strength[0]))),
        _blur(faces, 0.5 + 1.3 * strength[1]),
        faces + torch.randn(faces.shape, generator=generator).to(faces) * (0.02 + 0.06 * strength[2]),
        compress(faces, 0.03 + 0.12 * strength[3]),
    )
    for number, fault in enumerate(faults):
        chosen = (chance >= number / 4) & (chance < (number + 1) / 4)
        faces = torch.where(chosen.view(n, 1, 1, 1).to(faces.device), fault, faces)
    return faces.clamp(0, 1)


def _lower_resolution(faces: Tensor, side_px: int) -> Tensor:
    """(n, 1, h, w) faces scaled down to a smaller side and up again."""
    small = functional.interpolate(faces, size=(side_px, side_px), mode="bilinear", antialias=True)
    return functional.interpolate(small, size=faces.shape[-2:], mode="bilinear", align_corners=False)


def _blur(faces: Tensor, sigma_px: float) -> Tensor:
    """(n, 1, h, w) faces under a Gaussian blur."""
    radius = math.ceil(3 * sigma_px)
    places = torch.arange(-radius, radius + 1, dtype=faces.dtype, device=faces.device)
    kernel = (-places.square() / (2 * sigma_px**2)).exp()
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    padded = functional.pad(faces, (radius,) * 4, mode="reflect")
    return functional.conv2d(functional.conv2d(padded, kernel), kernel.transpose(2, 3))


def compress(faces: Tensor, step: float) -> Tensor:
    """Round the cosine coefficients of 8x8 blocks of (n, 1, h, w) faces, those of higher frequency more, as in JPEG."""
    size = 8
    n, _, height, width = faces.shape
    rows, columns = height // size, width // size
    cosines = _cosines(size).to(faces)
    whole = faces[:, 0, : rows * size, : columns * size]
    blocks = whole.reshape(n, rows, size, columns, size).transpose(2, 3)  # (n, rows, columns, 8, 8)
    frequency = torch.arange(size, dtype=faces.dtype, device=faces.device)
    steps = step * (1 + (frequency.view(-1, 1) + frequency) / 2)
    rounded = ((cosines @ blocks @ cosines.T) / steps).round() * steps
    result = faces.clone()
    result[:, 0, : rows * size, : columns * size] = (cosines.T @ rounded @ cosines).transpose(2, 3).reshape(whole.shape)
    return result


def _cosines(size: int) -> Tensor:
    """(size, size) float: the orthonormal cosine transform."""
    places = (torch.arange(size) + 0.5) * math.pi / size
    cosines = (torch.arange(size).view(-1, 1) * places).cos() * math.sqrt(2 / size)
    cosines[0] /= math.sqrt(2)
    return cosines


def _erase(faces: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Cover a rectangle in a share of the faces with the face's mean grey; its sides are 0.2 to 0.4 of the face's."""
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
