"""A folder of photographs for each label.

    happiness/anything.jpg           or, with splits,    test/happiness/anything.jpg
    sad/deeper/anything.png                              train/sad/anything.png

The name of a folder is its label, in any usual spelling (``happy``, ``Happiness``). Folders whose names are no emotion
of FER+ are left out and counted.
"""

from pathlib import Path

from mien.model.datasets.base import SUFFIXES, Collection, LabelledPhotographs
from mien.model.emotions import EMOTIONS, emotion_of
from mien.model.errors import DatasetError
from mien.model.files import files_below


def read_folders(root: Path, split: str = "all") -> LabelledPhotographs:
    """Read a folder of photographs per label.

    Args:
        root: the folder with the folders of the labels, or with a folder for each split.
        split: the name of a split; ``all`` reads all of them.

    Raises:
        DatasetError: no folder is named after an emotion, or the split does not exist.
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
