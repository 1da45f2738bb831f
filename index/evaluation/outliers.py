"""Outliers: crops without a known expression, to fit the background on and to measure rejection with.

Training, or the background of the mixture, may have been fitted on the *seen* kinds, made from other faces. The
*unseen* kinds are only measured on: they show what happens with pictures of other sorts. Each kind has its own random
generator, so that a new kind leaves the others unchanged.

Pictures come from installed packages (scikit-learn and matplotlib): nothing is downloaded, and figures can be
repeated.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COUNT: Final = 1000
"""Crops of each kind."""

_TINY_SHARES: Final = (0.2, 0.4)
"""Sides of a tiny face, in shares of the crop's: smallest and largest."""

_MIN_PATCH_SHARE: Final = 0.2
"""The smallest patch of a picture, in shares of its shorter side."""


@dataclass(frozen=True)
class Outliers:
    """Crops of one kind.

    Attributes:
        kind: what they show.
        crops: (n, h, w) uint8 grey.
        seen: training, or the background, may have been fitted on crops of this kind.
    """

    kind: str
    crops: NDArray[np.uint8]
    seen: bool


def seen_outliers(faces: NDArray[np.uint8], seed: int, *, count: int = COUNT) -> list[Outliers]:
    """The kinds to fit on: noise, textures, and faces that are turned, badly cropped or scrambled.

    Args:
        faces: (n, side_px, side_px) face crops; at least one.
        seed: decides the choice of faces, and all else.
        count: crops of each kind; of fewer faces, each is used once.
    """
    side_px = faces.shape[1]
    chosen = faces[_generator(seed, "faces").permutation(len(faces))[:count]]
    crops = {
        "noise": noise(count, side_px, _generator(seed, "noise")),
        "textures": textures(count, side_px, _generator(seed, "textures")),
        "upside-down faces": upside_down(chosen),
        "faces on their side": on_their_side(chosen),
        "corners of faces": corners(chosen),
        "faces half out of the picture": half_out(chosen),
        "tiny faces": tiny(chosen, _generator(seed, "tiny faces")),
        "scrambled faces": scrambled(chosen, _generator(seed, "scrambled faces")),
    }
    return [Outliers(kind, each, seen=True) for kind, each in crops.items()]


def unseen_outliers(side_px: int, seed: int, *, count: int = COUNT) -> list[Outliers]:
    """The kinds that nothing is fitted on: gratings, and patches of pictures from installed packages.

    Args:
        side_px: height and width of a crop.
        seed: of the random generators.
        count: crops of each kind.
    """
    crops = {
        "gratings": gratings(count, side_px, _generator(seed, "gratings")),
        "objects": objects(count, side_px, _generator(seed, "objects")),
        "reliefs": reliefs(count, side_px, _generator(seed, "reliefs")),
        "handwriting": handwriting(count, side_px, _generator(seed, "handwriting")),
    }
    return [Outliers(kind, each, seen=False) for kind, each in crops.items()]


def noise(count: int, side_px: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """(count, side_px, side_px) uint8: independent grey values."""
    return generator.integers(0, 256, (count, side_px, side_px), dtype=np.uint8)


def textures(count: int, side_px: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """(count, side_px, side_px) uint8: clouds of grains of several sizes, in changing shares."""
    crops = np.empty((count, side_px, side_px), dtype=np.uint8)
    for row in range(count):
        total = np.zeros((side_px, side_px))
        for cells in (2, 4, 8, 16):
            coarse = Image.fromarray(generator.random((cells, cells)).astype(np.float32))
            smooth = coarse.resize((side_px, side_px), Image.Resampling.BICUBIC)
            total += np.asarray(smooth) * generator.random()
        crops[row] = _stretched(total)
    return crops


def gratings(count: int, side_px: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """(count, side_px, side_px) uint8: one to eleven waves across the crop, in any direction."""
    crops = np.empty((count, side_px, side_px), dtype=np.uint8)
    across = np.linspace(0, 1, side_px)
    for row in range(count):
        angle, waves, start = generator.random() * np.pi, 1 + 10 * generator.random(), generator.random()
        along = np.add.outer(np.sin(angle) * across, np.cos(angle) * across)
        crops[row] = _stretched(np.sin(2 * np.pi * (waves * along + start)))
    return crops


def upside_down(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, h, w) crops, each turned by 180 degrees."""
    return np.ascontiguousarray(faces[:, ::-1, ::-1])


def on_their_side(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, side, side) crops, turned by 90 degrees to the left and to the right in turn."""
    turned = np.rot90(faces, 1, (1, 2)).copy()
    turned[1::2] = np.rot90(faces[1::2], -1, (1, 2))
    return turned


def corners(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, h, w) crops: a corner of each face, a third of its side, scaled up; the four corners in turn."""
    height, width = faces.shape[1:]
    parts = np.empty_like(faces)
    for row, face in enumerate(faces):
        top = 0 if row % 4 < 2 else height - height // 3
        left = 0 if row % 2 == 0 else width - width // 3
        parts[row] = _resized(face[top : top + height // 3, left : left + width // 3], width, height)
    return parts


def half_out(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, h, w) crops: each face shifted by half its side, down, up, right or left in turn.

    The rest of the crop repeats the edge, as at the edge of a photograph.
    """
    height, width = faces.shape[1:]
    down, right = height // 2, width // 2
    padded = np.pad(faces, ((0, 0), (down, down), (right, right)), mode="edge")
    shifted = np.empty_like(faces)
    for row, (dy, dx) in enumerate(((down, 0), (-down, 0), (0, right), (0, -right))):
        top, left = down - dy, right - dx
        shifted[row::4] = padded[row::4, top : top + height, left : left + width]
    return shifted


def tiny(faces: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """(n, side, side) crops that are far too wide: a small face with its edges repeated or with clouds around it."""
    side = faces.shape[1]
    clouds = textures(len(faces), side, generator)
    crops = np.empty_like(faces)
    for row, face in enumerate(faces):
        small = max(1, round(side * generator.uniform(*_TINY_SHARES)))
        top, left = generator.integers(0, side - small + 1, 2)
        shrunk = _resized(face, small, small)
        rest = ((top, side - small - top), (left, side - small - left))
        crops[row] = np.pad(shrunk, rest, mode="edge")
        if row % 2:
            crops[row] = clouds[row]
            crops[row, top : top + small, left : left + small] = shrunk
    return crops


def scrambled(faces: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """(n, h, w) crops, h and w even: the four quarters of each face permuted, none in its place."""
    height, width = faces.shape[1] // 2, faces.shape[2] // 2
    places = [(slice(y, y + height), slice(x, x + width)) for y in (0, height) for x in (0, width)]
    mixed = faces.copy()
    for row, face in enumerate(faces):
        order = generator.permutation(4)
        while (order == np.arange(4)).any():
            order = generator.permutation(4)
        for to, source in zip(places, order, strict=True):
            mixed[row][to] = face[places[source]]
    return mixed


def objects(count: int, side_px: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """(count, side_px, side_px) uint8: patches of a building with trees, a flower and a parcel, in turn."""
    import matplotlib
    import sklearn.datasets

    photographs = Path(sklearn.datasets.__file__).parent / "images"
    samples = Path(matplotlib.get_data_path()) / "sample_data"
    files = (photographs / "china.jpg", photographs / "flower.jpg", samples / "Minduka_Present_Blue_Pack.png")
    return patches([_read(path) for path in files], count, side_px, generator)


def reliefs(count: int, side_px: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """(count, side_px, side_px) uint8: patches of two elevation maps, the higher the brighter, in turn."""
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
    """(count, side_px, side_px) uint8: 1,797 handwritten digits, white on black, in random order, repeated."""
    from sklearn.datasets import load_digits

    digits = (load_digits().images * (255 / 16)).round().astype(np.uint8)  # (1797, 8, 8), greys from 0 to 16
    chosen = np.resize(generator.permutation(len(digits)), count)
    resized = [Image.fromarray(digits[row]).resize((side_px, side_px), Image.Resampling.BICUBIC) for row in chosen]
    return np.stack([np.asarray(digit) for digit in resized])


def patches(
    pictures: list[NDArray[np.uint8]], count: int, side_px: int, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """Square patches of all sizes from ``_MIN_PATCH_SHARE`` of a picture on, scaled to one size.

    Args:
        pictures: each (h, w) uint8 grey; used in turn.
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
        side = max(1, round(min(height, width) * _MIN_PATCH_SHARE ** generator.random()))
        top, left = generator.integers(0, height - side + 1), generator.integers(0, width - side + 1)
        patch = Image.fromarray(picture[top : top + side, left : left + side])
        cut[row] = np.asarray(patch.resize((side_px, side_px), Image.Resampling.HAMMING))
    return cut


def _generator(seed: int, kind: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(kind.encode())])


def _stretched(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The values, scaled to the whole range of grey."""
    low, high = values.min(), values.max()
    return np.asarray(((values - low) / (high - low) * 255).round(), dtype=np.uint8)


def _resized(crop: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    method = Image.Resampling.BOX if width < crop.shape[1] else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(crop).resize((width, height), method))


def _read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), dtype=np.uint8)
