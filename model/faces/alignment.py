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
    first, last = 0.5 / per_side, side_px - 0.5 / per_side
    outermost = np.array([first + first * 1j, last + first * 1j, first + last * 1j, last + last * 1j])
    grey, left, top = _reduce_around(image, (outermost - shift) / turn, factor)
    step, origin = 1 / (turn * per_side * factor), (-shift / turn - complex(left, top)) / factor
    samples = _sample(grey, step, origin, side_px * per_side)
    return np.asarray(samples.reduce(per_side)).round().astype(np.uint8)


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


def _sample(grey: NDArray[np.uint8], step: complex, origin: complex, side: int) -> Image.Image:
    """(side, side) bilinear samples, as 32-bit floats; edge pixels are repeated outside the image.

    Args:
        grey: (h, w), in which coordinates are complex, x + iy.
        step: from one sample to the next in its row; turned by a quarter, to that below.
        origin: the corner of the first sample, half a step before its middle.
        side: rows and columns of samples.
    """
    height, width = grey.shape
    corners = origin + step * side * np.array([0, 1, 1j, 1 + 1j])
    x, y = corners.real, corners.imag
    before, after = (_margin(-y.min()), _margin(-x.min())), (_margin(y.max() - height), _margin(x.max() - width))
    padded = np.pad(grey.astype(np.float32), tuple(zip(before, after, strict=True)), mode="edge")
    row, column = (step.real, -step.imag, origin.real + before[1]), (step.imag, step.real, origin.imag + before[0])
    return Image.fromarray(padded).transform(
        (side, side), Image.Transform.AFFINE, (*row, *column), Image.Resampling.BILINEAR
    )


def _margin(outside_px: float) -> int:
    """Pixels to repeat at an edge over which the samples reach by so many."""
    return max(0, math.ceil(outside_px) + 1)
