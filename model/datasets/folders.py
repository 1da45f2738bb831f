"""A folder of photographs for each label, as many sets are passed on.

    happiness/anything.jpg           or, in parts,       test/happiness/anything.jpg
    sad/deeper/anything.png                              train/sad/anything.png

A folder's name is its label, spelt as people do (``happy``, ``Happiness``). Folders whose names are no emotion of FER+
are left out and counted.
"""

from pathlib import Path

from mien.model.datasets.base import SUFFIXES, Collection, LabelledPhotographs
from mien.model.emotions import EMOTIONS, emotion_of
from mien.model.errors import DatasetError
from mien.model.files import files_below


def read_folders(root: Path, split: str = "all") -> LabelledPhotographs:
    """Read a folder of photographs per label.

    Args:
        root: the folder that holds the labels' folders, or folders that do.
        split: the name of the part; ``all`` takes every part.

    Raises:
        DatasetError: no folder is named as an emotion, or the part is not there.
    """
    if _has_labels(root) and split == "all":
        parts = [root]
    else:
        parts = [folder for folder in _folders(root) if _has_labels(folder) and split in ("all", folder.name)]
    if not parts:
        raise DatasetError(
            f"{root}{'' if split == 'all' else f', part {split}'}: expected folders named as the emotions "
            f"{', '.join(EMOTIONS)}, got {', '.join(folder.name for folder in _folders(root)) or 'no folder'}"
        )
    collection = Collection(f"{root.resolve().name} {split}")
    for part in parts:
        for folder in _folders(part):
            for path in files_below(folder):
                if path.suffix.lower() in SUFFIXES:
                    collection.add(path, emotion_of(folder.name))
                else:
                    collection.leave_out("no photograph by its name")
    return collection.photographs()


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _has_labels(folder: Path) -> bool:
    return any(emotion_of(below.name) in EMOTIONS for below in _folders(folder))
