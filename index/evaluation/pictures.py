"""Patches of pictures without people that scikit-learn and matplotlib carry: nothing is downloaded.

Which pictures there are does not depend on what else is installed, so that figures can be repeated.
"""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LEAST_SHARE: Final = 0.2
"""The smallest patch, in shares of the picture's shorter side: large enough to show something."""


def objects(count: int, side_px: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """(count, side_px, side_px) uint8: patches of a building with trees, of a flower and of a parcel, in turn."""
    import matplotlib
    import sklearn.datasets

    photographs = Path(sklearn.datasets.__file__).parent / "images"
    samples = Path(matplotlib.get_data_path()) / "sample_data"
    files = (photographs / "china.jpg", photographs / "flower.jpg", samples / "Minduka_Present_Blue_Pack.png")
    return patches([_read(path) for path in files], count, side_px, generator)


def reliefs(count: int, side_px: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """(count, side_px, side_px) uint8: patches of two maps of land, the higher the brighter, in turn."""
    import matplotlib

    samples = Path(matplotlib.get_data_path()) / "sample_data"
    maps = []
    for file, name in (("jacksboro_fault_dem.npz", "elevation"), ("topobathy.npz", "topo")):
        with np.load(samples / file) as arrays:
            heights = arrays[name].astype(np.float64)
        low, high = heights.min(), heights.max()
        maps.append(((heights - low) / (high - low) * 255).round().astype(np.uint8))
    return patches(maps, count, side_px, generator)


def handwriting(count: int, side_px: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """(count, side_px, side_px) uint8: digits written by hand, white on black; again from the first after 1,797."""
    from sklearn.datasets import load_digits

    digits = (load_digits().images * (255 / 16)).round().astype(np.uint8)  # (1797, 8, 8), greys from 0 to 16
    chosen = np.resize(generator.permutation(len(digits)), count)
    resized = [Image.fromarray(digits[row]).resize((side_px, side_px), Image.Resampling.BICUBIC) for row in chosen]
    return np.stack([np.asarray(digit) for digit in resized])


def patches(
    pictures: list[NDArray[np.uint8]], count: int, side_px: int, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """Square patches of all sizes from ``LEAST_SHARE`` of a picture on, scaled to one size.

    Args:
        pictures: each (h, w) uint8 grey; they are taken in turn.
        count: how many patches.
        side_px: height and width of each.
        generator: decides size and place.

    Returns:
        (count, side_px, side_px) uint8.
    """
    cut = np.empty((count, side_px, side_px), dtype=np.uint8)
    for row in range(count):
        picture = pictures[row % len(pictures)]
        height, width = picture.shape
        side = max(1, round(min(height, width) * LEAST_SHARE ** generator.random()))
        top, left = generator.integers(0, height - side + 1), generator.integers(0, width - side + 1)
        patch = Image.fromarray(picture[top : top + side, left : left + side])
        cut[row] = np.asarray(patch.resize((side_px, side_px), Image.Resampling.HAMMING))
    return cut


def _read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), dtype=np.uint8)
