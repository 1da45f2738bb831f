from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.index.evaluation.pictures import LEAST_SHARE, handwriting, objects, patches, reliefs

Draw = Callable[[int, int, np.random.Generator], NDArray[np.uint8]]


@pytest.mark.parametrize("make", [objects, reliefs, handwriting])
def test_patches_are_reproducible_and_differ(make: Draw) -> None:
    crops = make(7, 48, np.random.default_rng(0))
    assert crops.shape == (7, 48, 48)
    assert crops.dtype == np.uint8
    assert (crops == make(7, 48, np.random.default_rng(0))).all()
    assert len({crop.tobytes() for crop in crops}) == 7
    assert crops.std() > 20


def test_pictures_are_taken_in_turn_and_patches_lie_inside() -> None:
    dark, bright = np.full((40, 90), 10, np.uint8), np.full((70, 50), 200, np.uint8)
    cut = patches([dark, bright], 6, 12, np.random.default_rng(0))
    assert cut[0::2].tolist() == np.full((3, 12, 12), 10).tolist()
    assert cut[1::2].tolist() == np.full((3, 12, 12), 200).tolist()


def test_patches_have_all_sizes() -> None:
    """Of a ramp, a patch spans as much grey as it is wide."""
    ramp = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (200, 1))
    spans = np.ptp(patches([ramp], 200, 48, np.random.default_rng(0)).reshape(200, -1), axis=1) / 255
    assert spans.min() < 1.2 * LEAST_SHARE
    assert spans.max() > 0.9
    assert spans.min() > 0.8 * LEAST_SHARE


def test_there_is_no_end_of_handwriting() -> None:
    digits = handwriting(1800, 8, np.random.default_rng(0))
    assert (digits[1797] == digits[0]).all()
