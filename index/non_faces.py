"""Crops that show no face with an expression: what rejection is measured against."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def noise(count: int, side_px: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """(count, side_px, side_px) uint8: independent grey values."""
    return generator.integers(0, 256, (count, side_px, side_px), dtype=np.uint8)


def textures(count: int, side_px: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """(count, side_px, side_px) uint8: clouds of all grain sizes, every second one crossed by stripes."""
    crops = np.empty((count, side_px, side_px), dtype=np.uint8)
    across = np.linspace(0, 1, side_px)
    for row in range(count):
        total = np.zeros((side_px, side_px))
        for cells in (2, 4, 8, 16):
            coarse = Image.fromarray(generator.random((cells, cells)).astype(np.float32))
            smooth = coarse.resize((side_px, side_px), Image.Resampling.BICUBIC)
            total += np.asarray(smooth) * generator.random()
        if row % 2:
            angle, waves = generator.random() * np.pi, 1 + 10 * generator.random()
            phase = np.add.outer(np.sin(angle) * across, np.cos(angle) * across)
            total += np.sin(2 * np.pi * waves * phase)
        low, high = total.min(), total.max()
        crops[row] = ((total - low) / (high - low) * 255).round()
    return crops


def upside_down(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, h, w) crops, each turned by half a turn."""
    return np.ascontiguousarray(faces[:, ::-1, ::-1])


def badly_cropped(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, h, w) crops: a corner of each face, a third of its side, scaled up to the whole."""
    height, width = faces.shape[1:]
    corner = faces[:, : height // 3, : width // 3]
    enlarged = [Image.fromarray(crop).resize((width, height), Image.Resampling.BICUBIC) for crop in corner]
    return np.stack([np.asarray(crop) for crop in enlarged])
