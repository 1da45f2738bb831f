"""Occlusion: which parts of a face its emotion rests on.

A grey patch is laid over one place after the other; where the probability of the emotion falls, the place mattered.

Source: Zeiler, Fergus: *Visualizing and Understanding Convolutional Networks*, arXiv 1311.2901, section 4.2.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from index.mixture import Mixture

PATCH_PX: Final = 12
STEP_PX: Final = 4

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def occlusion_map(crop: NDArray[np.uint8], embed: Embed, mixture: Mixture, emotion: int) -> NDArray[np.float64]:
    """How much of an emotion's probability hangs on each place of a face.

    Args:
        crop: (h, w) uint8, sides that ``STEP_PX`` divides.
        embed: from (n, h, w) crops to (n, d) embeddings.
        mixture: gives the probability.
        emotion: index of the emotion that is asked about.

    Returns:
        (h / STEP_PX, w / STEP_PX) float64: the mean fall of the probability over the patches that cover a place;
        negative where the place speaks against the emotion.
    """
    height, width = crop.shape
    tops, lefts = (np.arange(0, side - PATCH_PX + 1, STEP_PX) for side in (height, width))
    grey = np.uint8(round(float(crop.mean())))
    covered = np.repeat(crop[None], len(tops) * len(lefts) + 1, axis=0)
    places = [(top, left) for top in tops.tolist() for left in lefts.tolist()]
    for picture, (top, left) in zip(covered[1:], places, strict=True):
        picture[top : top + PATCH_PX, left : left + PATCH_PX] = grey
    probability = mixture.posterior(embed(covered))[:, emotion]
    fall, count = np.zeros((height // STEP_PX, width // STEP_PX)), np.zeros((height // STEP_PX, width // STEP_PX))
    for (top, left), covered_probability in zip(places, probability[1:], strict=True):
        part = np.s_[top // STEP_PX : (top + PATCH_PX) // STEP_PX, left // STEP_PX : (left + PATCH_PX) // STEP_PX]
        fall[part] += probability[0] - covered_probability
        count[part] += 1
    return np.asarray(fall / count)
