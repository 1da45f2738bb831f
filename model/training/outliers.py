"""Outlier exposure: pictures without an expression, made from training faces, for the background class of the loss.

A mixture that was trained on faces only calls many other pictures typical. Rotated, badly cut and shuffled faces, and
textures, form a background class with its own Gaussian.

Source: Hendrycks, Mazeika, Dietterich: *Deep Anomaly Detection with Outlier Exposure*, arXiv 1812.04606.
"""

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

KINDS: Final = ("turned", "enlarged", "shifted", "shrunk", "shuffled", "texture")
"""Faces rotated by at least a quarter turn, a small part of a face, a face partly outside the picture, a small face in
a picture, a face with its parts in another order, and no face."""

PARTS: Final = 3
"""Parts along each side of a shuffled face."""


def make_outliers(faces: Tensor, side_px: int, generator: torch.Generator) -> Tensor:
    """Make pictures without an expression from faces, with all kinds in equal shares.

    Args:
        faces: (n, 1, h, w) float from 0 to 1.
        side_px: height and width of the result.
        generator: of random numbers, on the CPU.

    Returns:
        (n, 1, side_px, side_px) float from 0 to 1, on the faces' device.
    """
    n = len(faces)
    first = int(torch.randint(len(KINDS), (), generator=generator))
    kinds = (torch.arange(n) + first) % len(KINDS)  # starts with a random kind, so that small batches get all in turn
    background = textures(n, side_px, generator).to(faces)
    grid = functional.affine_grid(
        _transforms(kinds, generator).to(faces), [n, 1, side_px, side_px], align_corners=False
    )
    warped = functional.grid_sample(faces, grid, padding_mode="border", align_corners=False)
    inside = (grid.abs() <= 1).all(dim=3).unsqueeze(1)
    pictures = torch.where(inside, warped, background)
    is_shuffled, is_texture = (
        (kinds == KINDS.index(kind)).to(faces.device).view(n, 1, 1, 1) for kind in ("shuffled", "texture")
    )
    pictures = torch.where(is_shuffled, _shuffled(pictures, generator), pictures)
    return torch.where(is_texture, background, pictures)


def textures(n: int, side_px: int, generator: torch.Generator) -> Tensor:
    """(n, 1, side_px, side_px) float from 0 to 1: sums of noise of several grain sizes with random weights."""
    total = torch.zeros(n, 1, side_px, side_px)
    for cells in (2, 3, 5, 9, 17, 48):
        grains = torch.rand(n, 1, cells, cells, generator=generator)
        weights = torch.rand(n, 1, 1, 1, generator=generator) ** 3  # cubed, so that one grain size dominates
        total += weights * functional.interpolate(grains, size=(side_px, side_px), mode="bilinear", align_corners=False)
    low, high = total.amin(dim=(2, 3), keepdim=True), total.amax(dim=(2, 3), keepdim=True)
    return (total - low) / (high - low)


def _transforms(kinds: Tensor, generator: torch.Generator) -> Tensor:
    """(n, 2, 3) affine transforms from the picture to the face, in units of half a side."""
    n = len(kinds)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    def of(kind: str) -> Tensor:
        return kinds == KINDS.index(kind)

    quarter = math.pi / 2
    angle = torch.where(of("turned"), between(quarter, 3 * quarter), between(-0.2, 0.2))
    scale = between(0.85, 1.15)
    scale = torch.where(of("enlarged"), between(0.2, 0.4), scale)
    scale = torch.where(of("shrunk"), between(2.5, 5), scale)
    direction, far = between(0, 4 * quarter), between(0.9, 1.5)
    room = (scale - 1).abs()  # keeps a part inside the face, and a small face inside the picture
    shift_x = torch.where(of("shifted"), far * direction.cos(), between(-1, 1) * room)
    shift_y = torch.where(of("shifted"), far * direction.sin(), between(-1, 1) * room)
    flip = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    return torch.stack(
        [torch.stack([cosine * flip, -sine, shift_x], dim=1), torch.stack([sine * flip, cosine, shift_y], dim=1)], dim=1
    )


def _shuffled(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """The pictures with their parts in a random order; pixels beyond the last whole part stay in place."""
    size = pictures.shape[-1] // PARTS
    order = torch.randperm(PARTS**2, generator=generator).tolist()
    shuffled = pictures.clone()
    for place, part in enumerate(order):
        (to_y, to_x), (from_y, from_x) = divmod(place, PARTS), divmod(part, PARTS)
        shuffled[:, :, to_y * size : (to_y + 1) * size, to_x * size : (to_x + 1) * size] = pictures[
            :, :, from_y * size : (from_y + 1) * size, from_x * size : (from_x + 1) * size
        ]
    return shuffled
