"""Alignment: cuts a face out of a photograph so that it is framed as the faces of FER2013 are.

The network is trained on whole FER2013 images, so a face from a photograph must fill its crop in the same way.

Coordinates are continuous: pixel i covers i to i + 1, as in YuNet's landmarks and in Pillow.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.model.datasets.ferplus import FACE_PX

SIDE_PX: Final = FACE_PX
"""Height and width of a crop: those of a FER2013 face."""

TEMPLATE: Final = np.array(
    [
        [0.3170, 0.3830],  # the person's right eye, on the left of the picture
        [0.6830, 0.3830],  # left eye
        [0.5000, 0.5910],  # nose
        [0.3510, 0.7650],  # right corner of the mouth
        [0.6490, 0.7650],  # left corner of the mouth
    ]
)
"""(5, 2) x and y of YuNet's landmarks in a FER2013 face, as shares of its side.

Medians over 1,191 random images of FER+ Training, scaled up five times for the detector, then made symmetric, so
that a mirrored photograph gives the mirrored crop. Half of the images are within 0.04 of each number.
"""

_GRID: Final = np.add.outer(1j * (np.arange(16) + 0.5), np.arange(16) + 0.5) / 16
"""(16, 16) places in a crop, as shares of its side: complex x + iy."""


def crop_face(image: NDArray[np.uint8], landmarks: NDArray[np.floating], side_px: int = SIDE_PX) -> NDArray[np.uint8]:
    """Rotate, scale and cut out one face.

    Where the crop reaches over the image's edge, the edge pixels are repeated: FER2013 has background up to its
    borders, and a bar of one grey would shift the mean and the contrast that the network standardises.

    Args:
        image: (h, w, 3) uint8 RGB, or (h, w) grey.
        landmarks: (5, 2) as in ``Detection``, in pixels of ``image``; not all at one point.
        side_px: height and width of the crop.

    Returns:
        (side_px, side_px) uint8 grey (ITU-R 601).
    """
    turn, shift = similarity(landmarks, TEMPLATE * side_px)
    # Against aliasing, the image is averaged down until 2 to 4 of its pixels cover a pixel of the crop. It is then
    # sampled at least once per pixel, and the samples in each pixel of the crop are averaged.
    spacing_px = 1 / abs(turn)
    factor = max(1, int(spacing_px / 2))
    per_side = max(1, math.ceil(spacing_px / factor - 0.01))  # rounding errors must not add a sample
    steps = (np.arange(side_px * per_side) + 0.5) / per_side
    places = (steps[np.newaxis, :] + 1j * steps[:, np.newaxis] - shift) / turn  # complex: x + iy in the image
    grey, left, top = _reduce_around(image, places, factor)
    samples = _sample(grey, (places.real - left) / factor, (places.imag - top) / factor)
    crop: NDArray[np.float64] = samples.reshape(side_px, per_side, side_px, per_side).mean(axis=(1, 3))
    return np.rint(crop).astype(np.uint8)


def crop_in_colour(
    image: NDArray[np.uint8], landmarks: NDArray[np.floating], side_px: int = SIDE_PX
) -> NDArray[np.uint8]:
    """``crop_face`` in colour: (side_px, side_px, 3) uint8 RGB."""
    return np.stack([crop_face(image[:, :, channel], landmarks, side_px) for channel in range(3)], axis=2)


def crop_side_px(landmarks: NDArray[np.floating]) -> float:
    """Side of the square of an image that ``crop_face`` cuts out, in pixels of the image."""
    turn, _ = similarity(landmarks, TEMPLATE)
    return 1 / abs(turn)


def share_outside(landmarks: NDArray[np.floating], width: int, height: int) -> float:
    """The share of the square that ``crop_face`` cuts out which lies outside an image, in steps of 1/256."""
    turn, shift = similarity(landmarks, TEMPLATE)
    places = (_GRID - shift) / turn
    inside = (places.real >= 0) & (places.real <= width) & (places.imag >= 0) & (places.imag <= height)
    return 1.0 - float(inside.mean())


def crop_whole(image: NDArray[np.uint8], side_px: int = SIDE_PX) -> NDArray[np.uint8]:
    """Make a crop of an image that is one face already: its centred square.

    Args:
        image: (h, w, 3) uint8 RGB, or (h, w) grey. A grey image of ``side_px`` is returned bit for bit.
        side_px: height and width of the crop.

    Returns:
        (side_px, side_px) uint8 grey (ITU-R 601).
    """
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    grey = _grey(image[top : top + side, left : left + side])
    if side != side_px:
        grey = grey.resize((side_px, side_px), Image.Resampling.BICUBIC)
    return np.array(grey, dtype=np.uint8)


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> tuple[complex, complex]:
    """Rotation, uniform scale and shift that map ``source`` to ``target`` with the least squared error.

    Points are complex numbers x + iy, and the result is (a, b) of z -> a z + b. In the plane and without mirroring,
    this regression is Umeyama's solution (*Least-Squares Estimation of Transformation Parameters*, PAMI 1991).
    """
    z = source[:, 0].astype(np.float64) + 1j * source[:, 1]
    w = target[:, 0].astype(np.float64) + 1j * target[:, 1]
    centred = z - z.mean()
    turn = complex(np.vdot(centred, w - w.mean()) / np.vdot(centred, centred).real)
    return turn, complex(w.mean() - turn * z.mean())


def _reduce_around(
    image: NDArray[np.uint8], places: NDArray[np.complex128], factor: int
) -> tuple[NDArray[np.uint8], int, int]:
    """The part of an image around ``places``, grey and reduced by ``factor``; and its left and top in the image."""
    height, width = image.shape[:2]
    margin = 2 * factor
    left = int(np.clip(places.real.min() - margin, 0, width - 1))
    top = int(np.clip(places.imag.min() - margin, 0, height - 1))
    right = int(np.clip(places.real.max() + margin, left + 1, width))
    bottom = int(np.clip(places.imag.max() + margin, top + 1, height))
    return np.asarray(_grey(image[top:bottom, left:right]).reduce(factor), dtype=np.uint8), left, top


def _grey(image: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image)).convert("L")


def _sample(grey: NDArray[np.uint8], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear samples at continuous coordinates; edge pixels are repeated outside the image."""
    height, width = grey.shape
    x, y = (x - 0.5).clip(0, width - 1), (y - 0.5).clip(0, height - 1)  # from edges to centres of pixels
    x0, y0 = x.astype(np.intp), y.astype(np.intp)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    across, down = x - x0, y - y0
    above = grey[y0, x0] * (1 - across) + grey[y0, x1] * across
    below = grey[y1, x0] * (1 - across) + grey[y1, x1] * across
    return np.asarray(above * (1 - down) + below * down)
