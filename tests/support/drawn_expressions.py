"""Drawn face crops in a folder for each label: the patterns of ``make_faces``, and further ones for other labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.model.datasets.ferplus import FACE_PX
from mien.model.emotions import EMOTIONS

FURTHER: Final = ("wink", "pain")


def draw_expression(label: str, count: int, seed: int = 0) -> NDArray[np.uint8]:
    """(count, 48, 48) crops of a label, with noise."""
    names = (*EMOTIONS, *FURTHER)
    patterns = np.random.default_rng(1234).integers(60, 196, (len(names), 6, 6)).repeat(8, 1).repeat(8, 2)
    noise = np.random.default_rng([seed, names.index(label)]).normal(0, 20, (count, FACE_PX, FACE_PX))
    return np.asarray(np.clip(patterns[names.index(label)] + noise, 0, 255), dtype=np.uint8)


def write_expressions(root: Path, counts: Mapping[str, int], seed: int = 0) -> Path:
    """Write crops as ``LABEL/NUMBER.png``, and return the folder."""
    for label, count in counts.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        for number, crop in enumerate(draw_expression(label, count, seed)):
            Image.fromarray(crop).save(root / label / f"{number}.png")
    return root
