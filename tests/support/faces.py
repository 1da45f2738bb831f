"""Face crops that look like nothing but can be told apart, and FER+ folders made of them."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mien.model.datasets.ferplus import FACE_PX, LabelledFaces, Split
from mien.model.emotions import EMOTIONS, VOTE_COLUMNS

MakeFaces = Callable[..., LabelledFaces]
WriteSplit = Callable[[Path, Split, LabelledFaces], Path]


def make_faces(count: int, seed: int = 0) -> LabelledFaces:
    """Noise over one pattern for each emotion, labelled by nine of ten raters; the emotions take turns."""
    patterns = np.random.default_rng(1234).integers(60, 196, (len(EMOTIONS), 6, 6)).repeat(8, 1).repeat(8, 2)
    generator = np.random.default_rng(seed)
    emotion = np.arange(count) % len(EMOTIONS)
    images = np.clip(patterns[emotion] + generator.normal(0, 20, (count, FACE_PX, FACE_PX)), 0, 255)
    votes = np.zeros((count, len(VOTE_COLUMNS)), dtype=np.int64)
    votes[np.arange(count), emotion] = 9
    votes[np.arange(count), generator.integers(0, len(VOTE_COLUMNS), count)] += 1
    # Numbers with gaps, as in FER+, where a number is no row position.
    names = tuple(f"fer{7 * seed + 3 * row:07d}.png" for row in range(count))
    return LabelledFaces(names, images.astype(np.uint8), votes)


def write_split(root: Path, split: Split, faces: LabelledFaces) -> Path:
    """Write faces as FER+ stores them, a folder per split with images and ``label.csv``; returns the split's folder."""
    folders = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}
    folder = root / folders[split]
    folder.mkdir(parents=True)
    with (folder / "label.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for name, image, votes in zip(faces.names, faces.images, faces.votes, strict=True):
            Image.fromarray(image).save(folder / name)
            writer.writerow([name, f"(0, 0, {FACE_PX}, {FACE_PX})", *votes.tolist()])
    return folder
