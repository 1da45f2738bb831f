"""Crops that show no face with an expression: what rejection is taught with, and what it is measured against.

Of the *rehearsed* kinds training, or the background of the mixture, may have seen the like, made from other faces;
the *unrehearsed* kinds are kept for measuring alone: they say what happens with pictures that nobody thought of.
Each kind draws from a source of chance of its own, so that a new kind leaves the others as they were.
"""

import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.index.evaluation.pictures import handwriting, objects, reliefs

COUNT: Final = 1000
"""Crops of each kind."""

_SHARES: Final = (0.2, 0.4)
"""Sides of a tiny face, in shares of the crop's: from the smallest to the largest."""


@dataclass(frozen=True)
class NonFaces:
    """Crops of one kind.

    Attributes:
        kind: what they show.
        crops: (n, h, w) uint8 grey.
        rehearsed: training, or the fit of the background, may have seen the like.
    """

    kind: str
    crops: NDArray[np.uint8]
    rehearsed: bool


def rehearsed(faces: NDArray[np.uint8], seed: int, *, count: int = COUNT) -> list[NonFaces]:
    """The kinds that may be learned from: no face at all, and faces turned, badly cropped or taken to pieces.

    Args:
        faces: (n, side_px, side_px) crops, framed as a face should be; at least one.
        seed: decides the faces that are taken, and all else.
        count: crops of each kind; of fewer faces, each is taken once.
    """
    side_px = faces.shape[1]
    order = _chance(seed, "faces").permutation(len(faces))
    taken = faces[order[:count]]
    made = {
        "noise": noise(count, side_px, _chance(seed, "noise")),
        "textures": textures(count, side_px, _chance(seed, "textures")),
        "upside-down faces": upside_down(taken),
        "faces on their side": on_their_side(taken),
        "corners of faces": corners(taken),
        "faces half out of the picture": half_out(taken),
        "tiny faces": tiny(taken, _chance(seed, "tiny faces")),
        "scrambled faces": scrambled(taken, _chance(seed, "scrambled faces")),
    }
    return [NonFaces(kind, crops, rehearsed=True) for kind, crops in made.items()]


def unrehearsed(side_px: int, seed: int, *, count: int = COUNT) -> list[NonFaces]:
    """The kinds that nothing is fitted on: gratings, and patches of pictures that installed packages carry.

    Args:
        side_px: height and width of a crop.
        seed: decides all chance.
        count: crops of each kind.
    """
    made = {
        "gratings": gratings(count, side_px, _chance(seed, "gratings")),
        "objects": objects(count, side_px, _chance(seed, "objects")),
        "reliefs": reliefs(count, side_px, _chance(seed, "reliefs")),
        "handwriting": handwriting(count, side_px, _chance(seed, "handwriting")),
    }
    return [NonFaces(kind, crops, rehearsed=False) for kind, crops in made.items()]


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
    """(n, h, w) crops, each turned by half a turn."""
    return np.ascontiguousarray(faces[:, ::-1, ::-1])


def on_their_side(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, side, side) crops, each turned by a quarter: one to the left, the next to the right, and so on."""
    turned = np.rot90(faces, 1, (1, 2)).copy()
    turned[1::2] = np.rot90(faces[1::2], -1, (1, 2))
    return turned


def corners(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, h, w) crops: a corner of each face, a third of its side, scaled up to the whole; the four in turn."""
    height, width = faces.shape[1:]
    parts = np.empty_like(faces)
    for row, face in enumerate(faces):
        top = 0 if row % 4 < 2 else height - height // 3
        left = 0 if row % 2 == 0 else width - width // 3
        parts[row] = _resized(face[top : top + height // 3, left : left + width // 3], width, height)
    return parts


def half_out(faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, h, w) crops: each face shifted by half its side, down, up, right or left in turn.

    What came into the crop repeats its edge, as where a face lies at the edge of a photograph.
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
    """(n, side, side) crops that are far too wide: a small face somewhere, its edges repeated or clouds around it."""
    side = faces.shape[1]
    clouds = textures(len(faces), side, generator)
    crops = np.empty_like(faces)
    for row, face in enumerate(faces):
        small = max(1, round(side * generator.uniform(*_SHARES)))
        top, left = generator.integers(0, side - small + 1, 2)
        shrunk = _resized(face, small, small)
        rest = ((top, side - small - top), (left, side - small - left))
        crops[row] = np.pad(shrunk, rest, mode="edge")
        if row % 2:
            crops[row] = clouds[row]
            crops[row, top : top + small, left : left + small] = shrunk
    return crops


def scrambled(faces: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """(n, h, w) crops, h and w even: the four quarters of each face in other places, none in its own."""
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


def _chance(seed: int, kind: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(kind.encode())])


def _stretched(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The values over the whole range of grey."""
    low, high = values.min(), values.max()
    return np.asarray(((values - low) / (high - low) * 255).round(), dtype=np.uint8)


def _resized(crop: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    method = Image.Resampling.BOX if width < crop.shape[1] else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(crop).resize((width, height), method))
