"""Faces to train on and to validate on: FER+, or photographs with labels of one's own, cut out as uploads are.

train/wink/1.jpg, validation/wink/2.jpg     a folder for each label, in a folder for each split, or without splits
labels.csv                                  a table with the columns image and label, perhaps subject and split
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.transfer import labelled_crops
from mien.model.datasets.base import LabelledPhotographs
from mien.model.datasets.csv_table import lines, read_listing, rows
from mien.model.datasets.ferplus import LabelledFaces, Split, is_ferplus, read_ferplus
from mien.model.datasets.folders import read_folders
from mien.model.emotions import vote_columns
from mien.model.errors import DatasetError
from mien.model.faces.reader import FaceReader

FERPLUS_NAME: Final = "FER+"

VALIDATION_SHARE: Final = 0.1
"""The share of people, or of photographs where people are not named, that data without splits is validated on."""

_SPLIT_NAMES: Final[dict[Split, tuple[str, ...]]] = {
    "Training": ("train", "training"),
    "PublicTest": ("validation", "valid", "val"),
    "PrivateTest": ("test", "testing"),
}


def dataset_name(root: Path) -> str:
    """The name of a data set, for reports and manifests."""
    return FERPLUS_NAME if is_ferplus(root) else root.resolve().name


def read_training_data(
    root: Path,
    split: Split,
    reader: Callable[[], FaceReader],
    *,
    already_cropped: bool = False,
    on_progress: Callable[[int, int], object] = lambda _, __: None,
    on_left_out: Callable[[dict[str, int]], object] = lambda _: None,
) -> LabelledFaces:
    """Read a split of FER+, or of photographs with labels of one's own, each of which counts as one vote.

    Args:
        root: FER+, a folder of photographs, or their table.
        split: Training, PublicTest (validation) or PrivateTest (test). Photographs without splits are divided into
            Training and PublicTest, people or else photographs as a whole, in the same way each time.
        reader: makes what finds the faces of photographs.
        already_cropped: photographs are face crops, so that nothing is detected.
        on_progress: called with the number of photographs read and their total.
        on_left_out: called with how many photographs were left out, by reason, if there are any.

    Raises:
        DatasetError: there is no such data, or none of its photographs can be used.
    """
    if is_ferplus(root):
        return read_ferplus(root, split)
    photographs = replace(_photographs(root, split), cropped=already_cropped)
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        on_progress(done, len(photographs))

    found, crops, skipped = labelled_crops(reader(), photographs, on_progress=count)
    left_out = Counter(photographs.left_out)
    left_out.update(skip.kind for skip in skipped)
    if left_out:
        on_left_out(dict(left_out))
    folder = root if root.is_dir() else root.parent
    names = _names([photographs.paths[row] for row in found.tolist()], folder)
    votes = np.eye(len(vote_columns(photographs.emotions)), dtype=np.int64)[photographs.labels[found]]
    return LabelledFaces(names, crops, votes, emotions=photographs.emotions)


def _photographs(root: Path, split: Split) -> LabelledPhotographs:
    if not root.exists():
        raise DatasetError(
            f"expected FER+, a folder of photographs for each label or their table, got nothing at {root}"
        )
    table = root / "labels.csv" if root.is_dir() else root
    if table.is_file():
        _, heading = next(lines(table), (0, list[str]()))
        found = {row["split"] for _, row in rows(table, ())} if "split" in heading else set()
        read = read_listing
    else:
        found = {folder.name for folder in root.iterdir() if folder.is_dir()}
        read = read_folders
    known = {name: each for name in found for each, names in _SPLIT_NAMES.items() if name.strip().lower() in names}
    if not known:
        return _divide(read(root, "all", None), split)
    folder = next((name for name, each in known.items() if each == split), None)
    if folder is not None:
        return read(root, folder, None)
    training = next((name for name, each in known.items() if each == "Training"), None)
    if training is None or split == "PrivateTest":
        raise DatasetError(f"{root} must have the split {_SPLIT_NAMES[split][0]}, got {', '.join(sorted(known))}")
    return _divide(read(root, training, None), split)


def _divide(photographs: LabelledPhotographs, split: Split) -> LabelledPhotographs:
    """The part of photographs without splits that is trained on, or validated on."""
    if split == "PrivateTest":
        raise DatasetError(f"{photographs.name} has no split for tests: expected a folder or rows named test")
    owners = photographs.subjects or tuple(map(str, photographs.paths))
    _, owner = np.unique(owners, return_inverse=True)
    count = int(owner.max()) + 1
    if count < 2:
        raise DatasetError(f"{photographs.name} must have photographs of two or more people, got one")
    drawn = np.random.default_rng(0).permutation(count)[: max(1, round(VALIDATION_SHARE * count))]
    held_out: NDArray[np.bool_] = np.isin(owner, drawn)
    return photographs.take(held_out if split == "PublicTest" else ~held_out)


def _names(paths: list[Path], folder: Path) -> tuple[str, ...]:
    """A name for each face: its path below the folder, in one word; ids of a gallery are made of it."""
    seen: Counter[str] = Counter()
    names = []
    for path in paths:
        inner = path.relative_to(folder) if path.is_relative_to(folder) else path
        name = "-".join(inner.with_suffix("").parts).strip("/-")
        seen[name] += 1
        names.append(f"{name}.png" if seen[name] == 1 else f"{name}-{seen[name]}.png")
    return tuple(names)
