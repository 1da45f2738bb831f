"""Coverings: masks, scarves, glasses and bars drawn over the mouth or the eyes of face crops.

The seen kinds are for fitting (``mien.index.fitting.covering``), the unseen ones only for measuring: they differ from
the seen kinds in outline or pattern. All are drawn where a median face of FER2013 has its mouth and eyes
(``mien.model.faces.alignment.TEMPLATE``), moved and scaled at random, as faces are.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from mien.index.mixture.covering import Part
from mien.model.faces.alignment import TEMPLATE, similarity

_SCALE: Final = 8
"""Coverings are drawn this many times larger than the crop, then averaged down."""

_JITTER: Final = 0.025
"""Standard deviation of the place of a covering, in shares of the crop's side."""

_Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Covering:
    """A kind of covering.

    Attributes:
        kind: what is drawn.
        part: what it covers.
        outline: polygons and ellipses in shares of the crop's side; an ellipse is two points, its box's corners.
        grey: darkest and brightest grey.
        pattern: how the grey varies.
        opacity: lowest and highest.
    """

    kind: str
    part: Part
    outline: tuple[_Points, ...]
    grey: tuple[int, int]
    pattern: Literal["plain", "folds", "fingers", "blots", "stripes", "checks", "shine"] = "plain"
    opacity: tuple[float, float] = (1.0, 1.0)


def _both_sides(lens: _Points, bridge: _Points) -> tuple[_Points, ...]:
    """A lens, its mirror image, and what joins them."""
    return lens, [(1 - x, y) for x, y in lens], bridge


_FACE_MASK: Final = [(0.13, 0.5), (0.5, 0.47), (0.87, 0.5), (0.83, 0.8), (0.66, 0.97), (0.34, 0.97), (0.17, 0.8)]
_POINTED: Final = [
    *((0.1, 0.48), (0.36, 0.52), (0.5, 0.42), (0.64, 0.52)),
    *((0.9, 0.48), (0.78, 0.88), (0.5, 1.02), (0.22, 0.88)),
]
_SCARF: Final = [(0.0, 0.6), (1.0, 0.56), (1.0, 1.0), (0.0, 1.0)]
_HIGH_SCARF: Final = [(0.0, 0.62), (0.5, 0.52), (1.0, 0.62), (1.0, 1.0), (0.0, 1.0)]
_LOW_SCARF: Final = [(0.0, 0.66), (0.5, 0.56), (1.0, 0.66), (1.0, 1.0), (0.0, 1.0)]
_CUP: Final = [(0.33, 0.62), (0.67, 0.62), (0.63, 1.0), (0.37, 1.0)]
_BAND: Final = [(0.0, 0.28), (1.0, 0.28), (1.0, 0.5), (0.0, 0.5)]
_BAR: Final = [(0.05, 0.29), (0.95, 0.29), (0.95, 0.47), (0.05, 0.47)]
_BLINDFOLD: Final = [(0.0, 0.26), (1.0, 0.31), (1.0, 0.5), (0.0, 0.46)]
_ROUND: Final = _both_sides([(0.17, 0.27), (0.46, 0.5)], [(0.4, 0.34), (0.6, 0.34), (0.6, 0.37), (0.4, 0.37)])
_SQUARE: Final = _both_sides(
    [(0.14, 0.29), (0.47, 0.29), (0.45, 0.48), (0.18, 0.48)], [(0.44, 0.31), (0.56, 0.31), (0.56, 0.35), (0.44, 0.35)]
)
_AVIATORS: Final = _both_sides(
    [(0.13, 0.28), (0.47, 0.3), (0.47, 0.42), (0.37, 0.54), (0.22, 0.52), (0.14, 0.42)],
    [(0.4, 0.29), (0.6, 0.29), (0.6, 0.31), (0.4, 0.31)],
)
_GOGGLES: Final = [
    *((0.06, 0.24), (0.94, 0.24), (0.94, 0.42), (0.78, 0.54), (0.58, 0.52)),
    *((0.5, 0.46), (0.42, 0.52), (0.22, 0.54), (0.06, 0.42)),
]

SEEN: Final = (
    Covering("surgical mask", "mouth", (_FACE_MASK,), (150, 250), "folds"),
    Covering("dark mask", "mouth", (_FACE_MASK,), (10, 90)),
    Covering("cloth", "mouth", (_POINTED,), (30, 230)),
    Covering("scarf", "mouth", (_SCARF,), (20, 230), "folds"),
    Covering("flowered scarf", "mouth", (_HIGH_SCARF,), (60, 200), "blots"),
    Covering("hand", "mouth", ([(0.22, 0.64), (0.95, 0.97)],), (110, 220), "fingers"),
    Covering("round sunglasses", "eyes", _ROUND, (5, 60), "plain", (0.85, 1.0)),
    Covering("square sunglasses", "eyes", _SQUARE, (5, 90), "shine", (0.85, 1.0)),
    Covering("bar", "eyes", (_BAR,), (0, 255)),
    Covering("hand over the eyes", "eyes", ([(0.05, 0.22), (0.95, 0.5)],), (110, 220), "fingers"),
    Covering("flowered band", "eyes", (_BAND,), (60, 200), "blots"),
)
"""The kinds that the test is fitted on."""

UNSEEN: Final = (
    Covering("striped mask", "mouth", (_POINTED,), (20, 240), "stripes"),
    Covering("chequered scarf", "mouth", (_LOW_SCARF,), (20, 240), "checks"),
    Covering("cup", "mouth", (_CUP,), (40, 250), "shine"),
    Covering("respirator", "mouth", ([(0.2, 0.46), (0.8, 1.0)],), (170, 255), "shine"),
    Covering("aviators", "eyes", _AVIATORS, (20, 110), "shine", (0.8, 0.95)),
    Covering("ski goggles", "eyes", (_GOGGLES,), (20, 230), "shine"),
    Covering("striped blindfold", "eyes", (_BLINDFOLD,), (20, 240), "stripes"),
)
"""The kinds that nothing is fitted on."""


def cover(faces: NDArray[np.uint8], covering: Covering, seed: int) -> NDArray[np.uint8]:
    """Draw a covering over faces.

    Args:
        faces: (n, side, side) crops, framed as FER2013 faces.
        covering: which.
        seed: decides place, grey and opacity of each.

    Returns:
        (n, side, side) uint8.
    """
    generator = np.random.default_rng([seed, zlib.crc32(covering.kind.encode())])
    return np.stack([_cover(face, covering, generator) for face in faces]) if len(faces) else faces.copy()


def cover_photograph(
    photograph: NDArray[np.uint8], covering: Covering, landmarks: NDArray[np.floating], seed: int
) -> NDArray[np.uint8]:
    """Draw a covering over an upright face of a photograph.

    Args:
        photograph: (h, w, 3) uint8 RGB.
        covering: which; it is grey.
        landmarks: (5, 2) of the face, as in ``Detection``.
        seed: as of ``cover``.

    Returns:
        (h, w, 3) uint8: a copy.
    """
    turn, shift = similarity(landmarks, TEMPLATE)
    side = round(1 / abs(turn))
    middle = (0.5 + 0.5j - shift) / turn
    left, top = round(middle.real - side / 2), round(middle.imag - side / 2)
    canvas = np.pad(photograph, ((side, side), (side, side), (0, 0)), mode="edge")
    square = canvas[side + top :, side + left :][:side, :side]
    grey = np.asarray(Image.fromarray(square).convert("L"))
    drawn = cover(grey[np.newaxis], covering, seed)[0]
    square[drawn != grey] = drawn[drawn != grey][:, np.newaxis]
    return canvas[side:-side, side:-side].copy()


def _cover(face: NDArray[np.uint8], covering: Covering, generator: np.random.Generator) -> NDArray[np.uint8]:
    side = len(face)
    shift, scale = generator.normal(0, _JITTER, 2), 1 + generator.normal(0, 2 * _JITTER, 2)
    shape = Image.new("L", (side * _SCALE, side * _SCALE))
    draw = ImageDraw.Draw(shape)
    for points in covering.outline:
        placed = ((np.asarray(points) - 0.5) * scale + 0.5 + shift) * side * _SCALE
        if len(points) == 2:
            draw.ellipse((*placed.min(axis=0).tolist(), *placed.max(axis=0).tolist()), fill=255)
        else:
            draw.polygon([(x, y) for x, y in placed.tolist()], fill=255)
    coverage = np.asarray(shape.reduce(_SCALE), dtype=np.float64) / 255 * generator.uniform(*covering.opacity)
    grey = generator.uniform(*covering.grey) + _pattern(covering.pattern, side, generator)
    mixed = face * (1 - coverage) + grey * coverage
    # A photograph is as soft at the edge of a covering as elsewhere.
    soft = Image.fromarray(np.rint(mixed.clip(0, 255)).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.5))
    return np.where(coverage > 0, np.asarray(soft), face).astype(np.uint8)


def _pattern(name: str, side: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """(side, side) differences from the grey of a covering."""
    down, across = np.mgrid[0:side, 0:side] / side
    strength, phase = generator.uniform(8, 30), generator.uniform(0, 1)
    light = 15 * generator.normal() * (across - 0.5) + 15 * generator.normal() * (down - 0.5)
    noise = generator.normal(0, 3, (side, side))
    waves = {
        "plain": 0.0 * down,
        "folds": 0.5 * strength * np.sin(2 * np.pi * (generator.uniform(5, 9) * down + phase)),
        "fingers": strength * np.sin(2 * np.pi * (generator.uniform(5, 8) * (across + 0.3 * down) + phase)),
        "stripes": 2.5 * strength * np.sign(np.sin(2 * np.pi * (generator.uniform(4, 8) * across + phase))),
        "blots": 3 * strength * (_blots(side, generator) - 0.5),
        "checks": 2 * strength * np.sign(np.sin(2 * np.pi * 5 * across + phase) * np.sin(2 * np.pi * 5 * down)),
        "shine": 3 * strength * np.exp(-(((across + down) % 0.5 - phase / 2) ** 2) / 0.005),
    }
    return np.asarray(waves[name] + light + noise)


def _blots(side: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """(side, side) random blots, from 0 to 1."""
    cells = int(generator.integers(6, 17))
    coarse = Image.fromarray(generator.random((cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)
