"""Photographs with one emotion each: what every reader of a data set gives."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError
from mien.model.faces.box import Box
from mien.model.files import files_below

SUFFIXES: Final = frozenset((".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
"""How the names of photographs end, in small letters."""


@dataclass(frozen=True)
class LabelledPhotographs:
    """Where the photographs of a data set lie, and what each shows. Nothing of a photograph is read yet.

    Attributes:
        name: of the data set and the part of it, for reports.
        paths: (n,) files.
        labels: (n,) int64 indices into ``EMOTIONS``.
        subjects: (n,) who is shown; None where the owner does not say.
        cropped: whether each photograph is a face crop already, so that nothing has to be detected.
        boxes: (n,) where the owner says that the labelled face is, None for a photograph of which it is not said;
            None where the set has no boxes.
        left_out: what was not taken, and how often: classes that FER+ lacks by their names, and what else its
            reader names.
    """

    name: str
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    subjects: tuple[str, ...] | None
    cropped: bool
    boxes: tuple[Box | None, ...] | None
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def classes(self) -> tuple[str, ...]:
        """The emotions that the set has, in FER+ order."""
        return tuple(name for label, name in enumerate(EMOTIONS) if label in self.labels)

    @property
    def missing_emotions(self) -> tuple[str, ...]:
        """The emotions that the set lacks, in FER+ order."""
        return tuple(name for name in EMOTIONS if name not in self.classes)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "LabelledPhotographs":
        """The photographs at ``rows`` (indices or a mask), in that order."""
        chosen = np.arange(len(self))[rows]
        return LabelledPhotographs(
            self.name,
            tuple(self.paths[row] for row in chosen),
            self.labels[chosen],
            tuple(self.subjects[row] for row in chosen) if self.subjects is not None else None,
            self.cropped,
            tuple(self.boxes[row] for row in chosen) if self.boxes is not None else None,
            self.left_out,
        )


@dataclass
class Collection:
    """Photographs while a set is read: each is taken, or left out and counted.

    Attributes:
        name: of the data set and the part of it, for reports.
        cropped: whether the photographs are face crops already.
    """

    name: str
    cropped: bool = False
    _paths: list[Path] = field(default_factory=list)
    _labels: list[int] = field(default_factory=list)
    _subjects: list[str | None] = field(default_factory=list)
    _boxes: list[Box | None] = field(default_factory=list)
    _left_out: Counter[str] = field(default_factory=Counter)

    def add(self, path: Path, emotion: str, *, subject: str | None = None, box: Box | None = None) -> None:
        """Take a photograph, if its emotion is one of FER+; a class that FER+ lacks is counted by its name.

        Raises:
            DatasetError: there is no such file.
        """
        if emotion not in EMOTIONS:
            self.leave_out(emotion)
            return
        if not path.is_file():
            raise DatasetError(f"expected the labelled photograph {path}, found none")
        self._paths.append(path)
        self._labels.append(EMOTIONS.index(emotion))
        self._subjects.append(subject)
        self._boxes.append(box)

    def leave_out(self, what: str, count: int = 1) -> None:
        """Count what is not taken."""
        if count:
            self._left_out[what] += count

    def photographs(self) -> LabelledPhotographs:
        """All that was taken.

        Raises:
            DatasetError: nothing was.
        """
        if not self._paths:
            raise DatasetError(
                f"{self.name}: expected photographs with one of the emotions {', '.join(EMOTIONS)}, got "
                + (", ".join(f"{count} of {what!r}" for what, count in self._left_out.items()) or "none at all")
            )
        subjects = tuple(subject for subject in self._subjects if subject is not None)
        return LabelledPhotographs(
            self.name,
            tuple(self._paths),
            np.array(self._labels, dtype=np.int64),
            subjects if len(subjects) == len(self._paths) else None,
            self.cropped,
            tuple(self._boxes) if any(self._boxes) else None,
            dict(self._left_out),
        )


def check_split(split: str, splits: tuple[str, ...], dataset: str) -> None:
    """Refuse a part that a data set does not have.

    Raises:
        DatasetError: ``split`` is none of ``splits``.
    """
    if split not in splits:
        raise DatasetError(f"{dataset} has the splits {', '.join(splits)}, got {split!r}")


def files_by_name(root: Path, ending: str) -> dict[str, Path]:
    """The files below a folder whose names end so (in small letters), by name, each name once.

    Raises:
        DatasetError: two files have one name.
    """
    found: dict[str, Path] = {}
    for path in files_below(root):
        # Archives that were packed on a Mac bring a shadow of every file in a folder of this name.
        if not path.name.lower().endswith(ending) or "__MACOSX" in path.parts:
            continue
        if path.name in found:
            raise DatasetError(f"{root}: expected each photograph once, got {found[path.name]} and {path}")
        found[path.name] = path
    return found


def first_folder(root: Path, candidates: tuple[str, ...], dataset: str) -> Path:
    """The first of some folders below ``root`` that is there.

    Raises:
        DatasetError: none is.
    """
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    raise DatasetError(f"{root} holds no {dataset}: expected the folder {' or '.join(candidates)}")
