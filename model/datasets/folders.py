"""A folder of photographs for each label.

    happiness/anything.jpg           or, with splits,    test/happiness/anything.jpg
    sad/deeper/anything.png                              train/sad/anything.png

The name of a folder is its label, in any usual spelling (``happy``, ``Happiness``). Folders with other names are left
out and counted, or are labels of one's own.
"""

from pathlib import Path
from typing import Final

from mien.model.datasets.base import SUFFIXES, Collection, LabelledPhotographs, check_spelling
from mien.model.emotions import EMOTIONS, emotion_of
from mien.model.errors import DatasetError
from mien.model.files import files_below

SPLIT_NAMES: Final = frozenset(("train", "training", "val", "valid", "validation", "test", "testing"))
"""Folders with these names are splits where labels may have any name."""


def read_folders(root: Path, split: str = "all", emotions: tuple[str, ...] | None = EMOTIONS) -> LabelledPhotographs:
    """Read a folder of photographs per label.

    Args:
        root: the folder with the folders of the labels, or with a folder for each split.
        split: the name of a split; ``all`` reads all of them.
        emotions: photographs with another label are left out; None reads all, and their labels are the emotions.

    Raises:
        DatasetError: no folder is named after an emotion, or the split does not exist.
    """
    if emotions is None:
        splits = [folder for folder in _folders(root) if folder.name.lower() in SPLIT_NAMES]
    else:
        splits = [] if _has_labels(root, emotions) and split == "all" else _folders(root)
        splits = [folder for folder in splits if _has_labels(folder, emotions)]
    parts = [folder for folder in splits if split in ("all", folder.name)]
    if not splits and split == "all" and (emotions is None or _has_labels(root, emotions)):
        parts = [root]
    if not any(map(_folders, parts)):
        wanted = f"named as the emotions {', '.join(emotions)}" if emotions is not None else "named as labels"
        _check_spelling(_folders(root), emotions)
        raise DatasetError(
            f"{root}{'' if split == 'all' else f', part {split}'}: expected folders {wanted}, "
            f"got {', '.join(folder.name for folder in _folders(root)) or 'no folder'}"
        )
    collection = Collection(f"{root.resolve().name} {split}", emotions=emotions)
    for part in parts:
        for folder in _folders(part):
            for path in files_below(folder):
                if path.suffix.lower() in SUFFIXES:
                    collection.add(path, emotion_of(folder.name))
                else:
                    collection.leave_out("no photograph by its name")
    return collection.photographs()


def _check_spelling(folders: list[Path], emotions: tuple[str, ...] | None) -> None:
    """Refuse folders that are named nearly as emotions."""
    if emotions is not None:
        for folder in folders:
            check_spelling(folder.name, emotions)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _has_labels(folder: Path, emotions: tuple[str, ...]) -> bool:
    return any(emotion_of(below.name) in emotions for below in _folders(folder))
